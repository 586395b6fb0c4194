//! Running out of the group's limit, of address space, of descriptors: the request is refused, existing memory is
//! unchanged.

use memgroup::{Backing, Error, MemGroup, Options};

use crate::support::{alone, backings, group_of};

const MIB: usize = 1 << 20;

#[test]
fn a_limit_is_kept_to_the_byte_and_used_up() {
    let limit = 100 * 4096;
    let group = Options::new().limit(limit).open().unwrap();
    let mut taken = 0;
    let error = loop {
        match group.alloc(4096) {
            Ok(_) => taken += 4096,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Limit { .. }), "{error}");
    assert!(error.to_string().contains("higher limit"), "{error}");
    assert_eq!(taken, limit);
    assert!(group.stats().committed <= limit);
}

#[test]
fn a_refused_request_takes_nothing_from_the_limit() {
    let group = Options::new().limit(MIB).open().unwrap();
    assert!(matches!(group.alloc(2 * MIB).unwrap_err(), Error::Limit { .. }));
    assert_eq!(group.stats().committed, 0);
    group.alloc(MIB).unwrap();
}

#[test]
fn a_reset_group_works_within_its_limit_again() {
    let mut group = Options::new().limit(MIB).open().unwrap();
    for _ in 0..5 {
        while group.alloc(1000).is_ok() {}
        group.reset();
    }
    assert!(group.stats().committed <= MIB);
}

#[test]
#[cfg_attr(heap, ignore = "asks the kernel")]
fn address_space_runs_out_as_an_error() {
    alone("limits::address_space_runs_out_as_an_error", || {
        let group = MemGroup::new().unwrap();
        let kept = group.copy(b"kept").unwrap();
        limit_resource(libc::RLIMIT_AS, 1 << 30);
        let error = group.alloc(1 << 30).unwrap_err();
        assert!(matches!(&error, Error::Os { code: libc::ENOMEM, .. }), "{error}");
        assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
        assert_eq!(&kept[..], b"kept");
        group.alloc(1000).unwrap();
        group.alloc(MIB).unwrap();
    });
}

#[test]
#[cfg_attr(heap, ignore = "asks the kernel")]
fn descriptors_run_out_as_an_error() {
    alone("limits::descriptors_run_out_as_an_error", || {
        let group = MemGroup::new().unwrap();
        let kept = group.copy(b"kept").unwrap();
        limit_resource(libc::RLIMIT_NOFILE, 0);
        let error = group.alloc(MIB).unwrap_err();
        assert!(matches!(&error, Error::Os { code: libc::EMFILE, .. }), "{error}");
        assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
        assert_eq!(&kept[..], b"kept");
        group.alloc(1000).unwrap();
    });
}

#[test]
#[cfg_attr(heap, ignore = "asks the kernel")]
fn a_file_size_limit_is_an_error_and_no_signal() {
    alone("limits::a_file_size_limit_is_an_error_and_no_signal", || {
        for backing in backings() {
            let is_file = backing != Backing::Anonymous;
            let group = group_of(backing);
            limit_resource(libc::RLIMIT_FSIZE, MIB as libc::rlim_t);
            let large = group.alloc(10 * MIB);
            assert_eq!(large.is_err(), is_file);
            if let Err(error) = large {
                assert!(error.to_string().contains("RLIMIT_FSIZE"), "{error}");
            }
            group.alloc(1000).unwrap();
        }
    });
}

#[test]
#[cfg_attr(heap, ignore = "asks the kernel")]
fn room_in_open_slots_is_used_up_when_no_more_can_be_opened() {
    alone("limits::room_in_open_slots_is_used_up_when_no_more_can_be_opened", || {
        let group = MemGroup::with_base(4096).unwrap();
        group.alloc(100).unwrap();
        group.alloc(600 * 1024).unwrap(); // opens a slot of a mebibyte
        limit_resource(libc::RLIMIT_NOFILE, 0);
        let taken = (0..).take_while(|_| group.alloc(1024).is_ok()).count();
        assert!(taken >= 424, "{taken}");
        assert!(group.stats().slots.iter().all(|slot| slot.capacity - slot.allocated < 1024 + 16));
    });
}

/// Sets a resource limit of the process.
pub fn limit_resource(resource: libc::__rlimit_resource_t, most: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit outlives the call.
    assert_eq!(unsafe { libc::getrlimit(resource, &mut limit) }, 0);
    limit.rlim_cur = most;
    // SAFETY: the same.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}
