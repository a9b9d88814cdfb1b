use super::*;

fn name(name: &str) -> [u8; 16] {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    comm
}

fn object(key: u32) -> Outstanding<u32> {
    Outstanding {
        key,
        cache: 0,
        bytes: 64,
        unreachable: false,
        marked: false,
        pid: 1,
        comm: name("init"),
        stack: None,
    }
}

fn times(count: usize, object: Outstanding<u32>) -> Vec<Outstanding<u32>> {
    vec![object; count]
}

fn keys(functions: &[Ranked<u32>]) -> Vec<u32> {
    functions.iter().map(|function| function.key).collect()
}

#[test]
fn proof_outranks_likeness_and_likeness_outranks_number() {
    let busy = times(500, object(1));
    let alike = times(30, Outstanding { marked: true, ..object(2) });
    let lost = times(5, Outstanding { unreachable: true, ..object(3) });
    let ranked = rank([busy, alike, lost].concat().into_iter());
    assert_eq!(keys(&ranked[&0]), [3, 2, 1]);
}

#[test]
fn equals_come_in_the_order_of_their_keys() {
    let all = [9, 4, 7, 1].map(|key| times(3, object(key))).concat();
    assert_eq!(keys(&rank(all.into_iter())[&0]), [1, 4, 7, 9]);
}

#[test]
fn each_cache_has_its_own_list() {
    let other = Outstanding { cache: 5, bytes: 256, ..object(1) };
    let ranked = rank([times(2, object(1)), times(3, other)].concat().into_iter());
    assert_eq!(ranked.len(), 2);
    assert_eq!((ranked[&0][0].outstanding, ranked[&0][0].bytes), (2, 128));
    assert_eq!((ranked[&5][0].outstanding, ranked[&5][0].bytes), (3, 768));
}

#[test]
fn what_is_lost_and_what_is_alike_are_counted_apart() {
    let lost = Outstanding { unreachable: true, bytes: 100, ..object(1) };
    let alike = Outstanding { marked: true, bytes: 10, ..object(1) };
    let both = Outstanding { unreachable: true, ..alike };
    let all = [times(4, lost), times(3, alike), times(2, both), times(5, object(1))];
    let ranked = rank(all.concat().into_iter());
    let function = &ranked[&0][0];
    assert_eq!((function.outstanding, function.bytes), (14, 400 + 30 + 20 + 320));
    assert_eq!((function.unreachable, function.unreachable_bytes), (6, 420));
    assert_eq!(function.marked, 5);
}

#[test]
fn twenty_unreachable_objects_of_one_function_are_a_proof_and_nineteen_are_not() {
    let lost = |count| times(count, Outstanding { unreachable: true, ..object(1) });
    assert!(!proves(&rank(lost(19).into_iter())[&0][0]));
    assert!(proves(&rank(lost(20).into_iter())[&0][0]));
    assert!(!proves(&rank(times(100_000, object(1)).into_iter())[&0][0]));
}

#[test]
fn the_top_processes_and_stacks_come_first() {
    let of = |pid, comm: &str, stack| Outstanding { pid, comm: name(comm), stack, ..object(1) };
    let all = [
        times(2, of(10, "cron", Some(3))),
        times(7, of(20, "nginx", Some(8))),
        times(4, of(30, "sshd", None)),
        times(3, of(10, "cron", Some(8))),
    ];
    let ranked = rank(all.concat().into_iter());
    let function = &ranked[&0][0];
    let processes: Vec<_> = function.processes.iter().map(|p| (p.pid, p.count)).collect();
    assert_eq!(processes, [(20, 7), (10, 5), (30, 4)]);
    assert_eq!(function.processes[0].comm, name("nginx"));
    assert_eq!(function.stacks, [(8, 10), (3, 2)]);
}

#[test]
fn a_process_bears_the_name_of_most_of_its_objects() {
    let of = |comm: &str| Outstanding { comm: name(comm), ..object(1) };
    let all = [times(2, of("worker-1")), times(9, of("java")), times(3, of("worker-2"))];
    let ranked = rank(all.concat().into_iter());
    assert_eq!(ranked[&0][0].processes[0].comm, name("java"));
    assert_eq!(ranked[&0][0].processes[0].count, 14);
}

#[test]
fn functions_beyond_the_bound_are_left_out_and_the_known_go_on_counting() {
    let many = (0..2 * MOST_FUNCTIONS as u32).chain([0, 0]).map(object);
    let ranked = rank(many);
    assert_eq!(ranked[&0].len(), MOST_FUNCTIONS);
    assert_eq!((ranked[&0][0].key, ranked[&0][0].outstanding), (0, 3));
}

#[test]
fn a_front_runner_leads_in_what_decides() {
    let front = |all: Vec<Outstanding<u32>>| {
        let ranked = rank(all.into_iter());
        front_runner(ranked.values().flatten()).map(|function| function.key)
    };
    let lost = |count, key| times(count, Outstanding { unreachable: true, ..object(key) });
    assert_eq!(front(vec![]), None);
    assert_eq!(front(times(2, object(1))), None, "too few");
    assert_eq!(front([times(90, object(1)), times(40, object(2))].concat()), Some(1));
    assert_eq!(front([times(90, object(1)), times(89, object(2))].concat()), None, "a tie");
    assert_eq!(front([times(90, object(1)), lost(3, 2)].concat()), Some(2), "by proof");
    let elsewhere = Outstanding { cache: 1, ..object(2) };
    assert_eq!(front([times(9, object(1)), times(20, elsewhere)].concat()), Some(2));
}

#[test]
fn a_process_has_the_name_that_most_of_its_objects_bear() {
    let elected = |names: &[&str]| {
        let mut comm = Comm::default();
        names.iter().for_each(|each| comm.vote(name(each)));
        comm.name
    };
    assert_eq!(elected(&["sh", "cc", "cc"]), name("cc"), "exec changed it early");
    assert_eq!(elected(&["cc", "cc", "cc", "sh", "sh"]), name("cc"), "exec changed it late");
}
