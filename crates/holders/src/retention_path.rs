//! Retention paths: which of them are the same, and what their steps are called.
//!
//! Paths through the same fields of the same caches are counted together first. Then the steps of
//! each such group are named, by a few of the objects that it leads through, and groups whose
//! names have become the same are merged.
//!
//! **Invariant:** every object is counted once, whatever is merged.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use sysak_base::Va;
use sysak_heap::references::{From, Reference};
use sysak_heap::{Heap, Object};

use crate::{Holder, HolderKind, Step};

/// Objects that are kept of each step of a group.
const MOST_EXAMPLES: usize = 6;
/// The structs of a path's objects are inferred where at least this share of all objects is held
/// through the same caches.
const INFERRED_PERCENT: u64 = 1;
/// More control groups that hold objects by the same path are reported as one holder.
const MOST_CGROUPS: usize = 8;

/// An object that a path leads through, and where in it; of a non-slab object no offset is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathObject {
    pub(crate) object: Object,
    pub(crate) offset: Option<u64>,
}

/// A path from a holder to some objects.
#[derive(Clone, Debug)]
pub(crate) struct RetentionPath {
    pub(crate) kind: HolderKind,
    pub(crate) holder: Step,
    /// The kind of open file by which a process holds them, where that tells something.
    pub(crate) through: Option<Step>,
    /// Of a control group, whether it was removed: there may be very many of either.
    pub(crate) removed_cgroup: Option<bool>,
    /// How many holders of its kind hold the same objects; one where that is not known.
    pub(crate) holders: usize,
    /// From the holder downwards.
    pub(crate) steps: Vec<PathObject>,
    /// How many objects it leads to.
    pub(crate) objects: u64,
    /// The reference that it begins with.
    pub(crate) anchor: Reference,
}

impl RetentionPath {
    /// No path was found to an object.
    pub(crate) fn not_known(to: Object) -> RetentionPath {
        RetentionPath {
            kind: HolderKind::Kernel,
            holder: Step::NotKnown,
            through: None,
            removed_cgroup: None,
            holders: 1,
            steps: Vec::new(),
            objects: 1,
            anchor: Reference { from: From::Root, at: Va(0), word: 0, to },
        }
    }
}

/// Names the words of objects.
pub(crate) trait MemberNaming {
    /// Of the offsets in the same member of a cache's objects, the first that was asked for.
    fn first_of_member(&mut self, cache: u16, offset: u64) -> u64;

    /// The member at an offset of some objects of one cache. A struct that is not known is
    /// inferred only with `infer`.
    fn member(&mut self, objects: &[Object], offset: u64, infer: bool) -> Option<String>;
}

/// What the paths of one group begin with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Head {
    /// One holder, and the kind of open file.
    Holder(HolderKind, Step, Option<Step>),
    /// Any control group, or any that was removed.
    Cgroups {
        /// Whether they were removed.
        removed: bool,
    },
}

impl Head {
    fn of(path: &RetentionPath) -> Head {
        match path.removed_cgroup {
            Some(removed) => Head::Cgroups { removed },
            None => Head::Holder(path.kind, path.holder.clone(), path.through.clone()),
        }
    }
}

/// What paths of one group have in common: the head, and each step after it.
type Key<S> = (Head, Vec<S>);
/// A cache, and where in its objects.
type Field = (u16, Option<u64>);

/// Paths that are counted together.
struct PathGroup {
    /// One of them.
    path: RetentionPath,
    /// Some of the objects at each step.
    examples: Vec<Vec<Object>>,
    /// Objects of each holder.
    holders: BTreeMap<Step, u64>,
    /// How many holders share objects: these are counted for one of the holders only.
    sharing: usize,
}

impl PathGroup {
    fn of(path: RetentionPath) -> PathGroup {
        let examples = path.steps.iter().map(|step| vec![step.object]).collect();
        let holders = BTreeMap::from([(path.holder.clone(), path.objects)]);
        let sharing = if path.holders > 1 { path.holders } else { 0 };
        PathGroup { path, examples, holders, sharing }
    }

    /// Adds paths through other fields: the same holders may share objects again.
    fn merge(&mut self, other: PathGroup) {
        self.sharing = self.sharing.max(other.sharing);
        self.add_examples(other);
    }

    /// Adds a path through the same fields: other holders share its objects.
    fn add(&mut self, path: RetentionPath) {
        let other = PathGroup::of(path);
        self.sharing += other.sharing;
        self.add_examples(other);
    }

    fn add_examples(&mut self, other: PathGroup) {
        for (known, more) in self.examples.iter_mut().zip(other.examples) {
            let more = more.into_iter().filter(|one| !known.contains(one)).collect::<Vec<_>>();
            known.extend(more.into_iter().take(MOST_EXAMPLES.saturating_sub(known.len())));
        }
        for (holder, objects) in other.holders {
            *self.holders.entry(holder).or_insert(0) += objects;
        }
    }

    fn objects(&self) -> u64 {
        self.holders.values().sum()
    }

    /// The holders, each by itself or, where they are many control groups, together.
    fn into_holders(self, steps: &[Step]) -> Vec<Holder> {
        let RetentionPath { kind, removed_cgroup, anchor, .. } = self.path;
        let through = self.path.through.clone();
        let one = |holder: Step, objects: u64, anchor: Option<Reference>| Holder {
            path: [Some(holder), through.clone()]
                .into_iter()
                .flatten()
                .chain(steps.iter().cloned())
                .collect(),
            kind,
            objects,
            anchor,
            retained_bytes: None,
        };
        let count = self.holders.len().max(self.sharing);
        match removed_cgroup.filter(|_| count > MOST_CGROUPS || self.sharing > 0) {
            Some(removed) => vec![one(Step::Cgroups { count, removed }, self.objects(), None)],
            None => {
                let each = self.holders.into_iter();
                each.map(|(holder, objects)| one(holder, objects, Some(anchor))).collect()
            }
        }
    }
}

/// Merges the paths to the objects of one cache; the holders of most objects come first.
pub(crate) fn merge(
    heap: &Heap,
    paths: impl Iterator<Item = RetentionPath>,
    names: &mut impl MemberNaming,
) -> Vec<Holder> {
    let mut merged: HashMap<Key<Step>, (Vec<Step>, PathGroup)> = HashMap::new();
    let groups = group_by_field(heap, paths, names);
    let all: u64 = groups.iter().map(|one| one.group.objects()).sum();
    for FieldGroup { key: (head, _), group, through_caches } in groups {
        let infer = through_caches * 100 >= all * INFERRED_PERCENT;
        let steps = named_steps(heap, &group, infer, names);
        let key = (head, steps.iter().map(without_offset).collect());
        match merged.get_mut(&key) {
            Some((known, other)) => {
                other.merge(group);
                // Slots of one table are one path.
                known.iter_mut().zip(steps).for_each(|(known, step)| join_offsets(known, &step));
            }
            None => {
                merged.insert(key, (steps, group));
            }
        }
    }
    let mut held: Vec<Holder> =
        merged.into_values().flat_map(|(steps, group)| group.into_holders(&steps)).collect();
    held.sort_by(|a, b| (Reverse(a.objects), &a.path).cmp(&(Reverse(b.objects), &b.path)));
    held
}

/// Paths through the same fields of the same caches.
struct FieldGroup {
    key: Key<Field>,
    group: PathGroup,
    /// Objects that are held through the same caches, by these fields or by others.
    through_caches: u64,
}

/// Groups paths that lead through the same fields of the same caches. Groups through the caches
/// that lead to most objects come first: they are named first, and not all can be.
fn group_by_field(
    heap: &Heap,
    paths: impl Iterator<Item = RetentionPath>,
    names: &mut impl MemberNaming,
) -> Vec<FieldGroup> {
    let mut field = |step: &PathObject| {
        let cache = heap.slabs[step.object.slab as usize].cache;
        (cache, step.offset.map(|offset| names.first_of_member(cache, offset)))
    };
    let mut groups: HashMap<Key<Field>, PathGroup> = HashMap::new();
    let mut through_caches: HashMap<Key<u16>, u64> = HashMap::new();
    for path in paths {
        let key: Key<Field> = (Head::of(&path), path.steps.iter().map(&mut field).collect());
        *through_caches.entry(caches(&key)).or_insert(0) += path.objects;
        match groups.get_mut(&key) {
            Some(known) => known.add(path),
            None => {
                groups.insert(key, PathGroup::of(path));
            }
        }
    }
    let with_total = |(key, group): (Key<Field>, PathGroup)| {
        let through_caches = through_caches.get(&caches(&key)).copied().unwrap_or(0);
        FieldGroup { key, group, through_caches }
    };
    let mut all: Vec<FieldGroup> = groups.into_iter().map(with_total).collect();
    all.sort_by_cached_key(|one| {
        let objects = one.group.objects();
        (Reverse(one.through_caches), caches(&one.key), Reverse(objects), one.key.1.clone())
    });
    all
}

fn caches((head, fields): &Key<Field>) -> Key<u16> {
    (head.clone(), fields.iter().map(|(cache, _)| *cache).collect())
}

/// The steps of a group behind its holder; equal neighbours, as the levels of a tree, are one.
fn named_steps(
    heap: &Heap,
    group: &PathGroup,
    infer: bool,
    names: &mut impl MemberNaming,
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (step, examples) in group.path.steps.iter().zip(&group.examples) {
        let member = step.offset.and_then(|offset| names.member(examples, offset, infer));
        let next = match member {
            Some(member) => Step::Member(member),
            None => Step::object(heap, step.object, step.offset),
        };
        match steps.last_mut() {
            Some(before) if without_offset(before) == without_offset(&next) => {
                join_offsets(before, &next);
            }
            _ => steps.push(next),
        }
    }
    steps
}

/// A step, wherever in the object its reference stands.
fn without_offset(step: &Step) -> Step {
    match step {
        Step::Object { cache, .. } => Step::Object { cache: cache.clone(), offset: None },
        other => other.clone(),
    }
}

/// Forgets the offset of a step where another one of the same cache has another.
fn join_offsets(step: &mut Step, other: &Step) {
    if let (Step::Object { offset, .. }, Step::Object { offset: more, .. }) = (step, other) {
        *offset = offset.filter(|known| Some(*known) == *more);
    }
}

#[cfg(test)]
mod tests;
