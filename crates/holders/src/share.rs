//! Who holds a component: each of its objects by itself, and all together only where one holder does.
//!
//! **Invariant:** where several holders lead into a component, an object for which none of them was
//! found belongs to nobody.

use std::collections::BTreeMap;

use sysak_heap::Object;
use sysak_heap::references::{From, Reference};
use sysak_heap::reverse::BestPaths;
use sysak_kernel::shape::{FILE_CACHE, SOCKET_BUFFER_CACHE};

use crate::component::{CacheComponents, Component, ExternalReferences};
use crate::member_names::MemberNames;
use crate::retention_path::{self, RetentionPath};
use crate::{HolderKind, HolderResolver, Holders, Step};

/// The end of a path that is farther names no owner that anybody can act on.
const FAR: u32 = crate::distance::STACK;
/// Where this part of a component's objects have holders of their own, these speak for their
/// objects alone.
const STRAY: usize = 32;

/// What the reverse search found.
pub(crate) struct FoundPaths<'r, 'a, 'k> {
    pub(crate) resolver: &'r HolderResolver<'a, 'k>,
    /// The best paths to the objects that were followed upwards.
    pub(crate) paths: BestPaths,
}

/// A path to one object.
struct Held {
    path: RetentionPath,
    /// Whether its end is an owner that keeps what it leads to.
    is_sure: bool,
}

/// Components whose samples speak for all of them.
struct Stratum<'c> {
    first: &'c Component,
    objects: u64,
    /// One for each object of the samples.
    paths: Vec<RetentionPath>,
}

/// Of `all` objects, how many belong to the first `index` of so many `parts`.
fn part(all: u64, index: u64, parts: u64) -> u64 {
    (u128::from(all) * u128::from(index) / u128::from(parts.max(1))) as u64
}

/// Who holds the objects of a component for which no holder of their own was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Whoever leads into the component from outside.
    FromOutside,
    /// The only one who holds any of its objects.
    OnlyOne,
    /// Nobody that can be told.
    Nobody,
}

/// Who holds the rest of a component: of a sample of its objects some have holders of their `own`, and
/// the best path from `outside` has this holder, who may be a sure one.
fn rest(own: &[&Step], sampled: usize, outside: Option<(&Step, bool)>) -> Rest {
    let Some(first) = own.first() else { return Rest::FromOutside };
    let sure_outside = outside.filter(|(_, is_sure)| *is_sure).map(|(holder, _)| holder);
    let is_one = own.iter().all(|holder| holder == first);
    match sure_outside {
        Some(holder) if is_one && holder == *first => Rest::OnlyOne,
        // A few have somebody who uses them besides who holds all.
        Some(_) if own.len() * STRAY <= sampled => Rest::FromOutside,
        None if is_one => Rest::OnlyOne,
        _ => Rest::Nobody,
    }
}

impl FoundPaths<'_, '_, '_> {
    /// The holders of a cache's objects.
    pub(crate) fn holders(
        &self,
        found: &CacheComponents,
        names: &mut MemberNames<'_, '_>,
    ) -> Holders {
        let paths = self.of_cache(found).into_iter();
        let held_by = retention_path::merge(&self.resolver.snapshot.heap, paths, names);
        Holders { held_by, sampled: found.sampled }
    }

    /// The paths to a cache's objects; the objects of all paths together are all of the cache. Small
    /// components count together with those that are pointed at from the same kind of place.
    fn of_cache(&self, found: &CacheComponents) -> Vec<RetentionPath> {
        let mut strata: BTreeMap<usize, Stratum<'_>> = BTreeMap::new();
        for component in &found.components {
            let stratum = strata.entry(component.stratum).or_insert(Stratum {
                first: component,
                objects: found.strata[component.stratum],
                paths: Vec::new(),
            });
            stratum.paths.extend(self.of_component(component));
        }
        strata.into_values().flat_map(|stratum| self.of_stratum(stratum)).collect()
    }

    fn of_stratum(&self, stratum: Stratum<'_>) -> Vec<RetentionPath> {
        let Stratum { first, objects, mut paths } = stratum;
        if paths.is_empty() {
            let sure = self.path_to(first).filter(|held| held.is_sure).map(|held| held.path);
            paths.push(sure.unwrap_or_else(|| RetentionPath::not_known(first.any)));
        }
        let parts = paths.len() as u64;
        for (path, index) in paths.iter_mut().zip(0..) {
            path.objects = part(objects, index + 1, parts) - part(objects, index, parts);
        }
        paths.retain(|path| path.objects > 0);
        paths
    }

    /// A path to each object of a component's sample.
    fn of_component(&self, component: &Component) -> Vec<RetentionPath> {
        let own: Vec<Option<Held>> =
            component.sample.iter().map(|object| self.of_object(component, *object)).collect();
        let sure: Vec<&RetentionPath> =
            own.iter().flatten().filter(|held| held.is_sure).map(|held| &held.path).collect();
        let of_all = match sure.len() == own.len() {
            true => None,
            false => self.of_all(component, &sure),
        };
        let path = |held: Option<Held>| {
            let (held, is_sure) =
                held.map_or((None, false), |held| (Some(held.path), held.is_sure));
            let held = if is_sure { held } else { of_all.clone().or(held) };
            held.unwrap_or_else(|| RetentionPath::not_known(component.any))
        };
        own.into_iter().map(path).collect()
    }

    /// The path to all objects of a component for which no holder of their own was found.
    fn of_all(&self, component: &Component, sure: &[&RetentionPath]) -> Option<RetentionPath> {
        if component.objects <= 1 {
            return None;
        }
        let outside = self.path_to(component);
        let own: Vec<&Step> = sure.iter().map(|path| &path.holder).collect();
        let holder = outside.as_ref().map(|held| (&held.path.holder, held.is_sure));
        match rest(&own, component.sample.len(), holder) {
            Rest::FromOutside => outside.map(|held| held.path),
            Rest::OnlyOne => sure.first().map(|path| (*path).clone()),
            Rest::Nobody => None,
        }
    }

    /// The best path to one object by itself.
    fn of_object(&self, component: &Component, object: Object) -> Option<Held> {
        let part = self.resolver.path_in_owner(object);
        let distance = self.paths.distance(object);
        if let Some((own, path)) = part
            && distance.is_none_or(|distance| own <= distance)
        {
            return Some(Held { path, is_sure: true });
        }
        let path = self.paths.path(object)?;
        let kind = path.first().map(|first| self.resolver.kind(first));
        let alike = component.external.iter().find(|one| Some(one.kind) == kind);
        let path = self.path_along(&path, alike.map_or(1, |one| one.count))?;
        Some(path)
    }

    fn path_along(&self, path: &[Reference], references: u32) -> Option<Held> {
        let end = self.resolver.owner_distance(path.last()?)?;
        let mut found = self.resolver.retention_path(&path.to_vec(), references)?;
        if self.is_in_flight(path) {
            found.through = Some(Step::InFlight);
        }
        // What nobody can name holds nothing that anybody could act on.
        let is_sure = end < FAR && found.kind != HolderKind::Kernel;
        Some(Held { path: found, is_sure })
    }

    /// Whether a path leads through a socket's packet to a file that was sent with it.
    fn is_in_flight(&self, path: &[Reference]) -> bool {
        let heap = &self.resolver.snapshot.heap;
        let is_packet = |one: &Reference| match one.from {
            From::Object(object) => heap.cache_of(object).has_name(SOCKET_BUFFER_CACHE),
            From::Root | From::Register => false,
        };
        let is_file = |one: &Reference| heap.cache_of(one.to).has_name(FILE_CACHE);
        path.iter().any(is_packet) && path.first().is_some_and(is_file)
    }

    /// How far the owner behind a reference is.
    fn distance(&self, one: &Reference) -> Option<u32> {
        let end = self.resolver.owner_distance(one);
        end.or_else(|| match one.from {
            From::Object(from) => self.paths.distance(from),
            From::Root | From::Register => None,
        })
    }

    /// The best path to a component from outside.
    fn path_to(&self, component: &Component) -> Option<Held> {
        let distance =
            |one: ExternalReferences| Some((self.distance(&one.example)?, one.example.at, one));
        let best = component.main_references().filter_map(distance);
        let (_, _, best) = best.min_by_key(|(distance, at, _)| (*distance, *at))?;
        let mut path = vec![best.example];
        if let From::Object(from) = best.example.from
            && self.resolver.owner_distance(&best.example).is_none()
        {
            path.extend(self.paths.path(from).into_iter().flatten());
        }
        self.path_along(&path, best.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> Step {
        Step::Process { name: "server".to_owned(), pid }
    }

    #[test]
    fn the_parts_of_a_whole_are_the_whole() {
        let parts: Vec<u64> = (0..7).map(|one| part(30, one + 1, 7) - part(30, one, 7)).collect();
        assert_eq!(parts.iter().sum::<u64>(), 30);
        assert!(parts.iter().all(|part| (4..=5).contains(part)));
    }

    #[test]
    fn a_component_that_several_holders_lead_into_belongs_to_nobody_as_a_whole() {
        let (one, other) = (process(1), process(2));
        let list = Step::Module("flows".to_owned());
        assert_eq!(rest(&[&one, &one, &other], 64, None), Rest::Nobody);
        assert_eq!(rest(&[&one, &one, &other], 64, Some((&one, true))), Rest::Nobody);
        assert_eq!(rest(&[&one, &one, &one], 64, Some((&list, true))), Rest::Nobody);
    }

    #[test]
    fn a_component_with_one_holder_is_held_by_that_as_a_whole() {
        let (one, table) = (process(1), Step::BootTable);
        assert_eq!(rest(&[&one, &one], 64, None), Rest::OnlyOne);
        assert_eq!(rest(&[&one, &one], 64, Some((&table, false))), Rest::OnlyOne);
        assert_eq!(rest(&[&one, &one], 64, Some((&one, true))), Rest::OnlyOne);
        assert_eq!(rest(&[], 64, Some((&one, true))), Rest::FromOutside);
    }

    #[test]
    fn a_lone_user_of_one_object_does_not_take_a_list_from_its_owner() {
        let (user, list) = (process(1), Step::Module("flows".to_owned()));
        assert_eq!(rest(&[&user, &user], 64, Some((&list, true))), Rest::FromOutside);
    }
}
