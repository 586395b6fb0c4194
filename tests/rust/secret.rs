//! Secret groups from the outside: refusals, overwriting, and memory that is never kept warm.

use memgroup::{Backing, Error, MemGroup, Options, warm_memory};

use crate::limits::limit_resource;
use crate::support::{alone, forked};

const SECRET: &[u8] = b"correct horse battery staple";

fn secret(backing: Backing) -> MemGroup {
    Options::new().secret(true).backing(backing).open().unwrap()
}

#[test]
fn secrets_in_files_are_refused() {
    let in_files = Options::new().secret(true).backing(Backing::Directory(std::env::temp_dir())).open();
    assert_eq!(in_files.unwrap_err(), Error::SecretInFiles);
}

#[test]
fn secret_memory_is_zero_after_a_reset() {
    for backing in [Backing::Memfd, Backing::Anonymous] {
        let mut group = secret(backing);
        assert!(group.is_secret());
        for _ in 0..3 {
            let blocks: Vec<_> = (0..500).map(|_| group.copy(SECRET).unwrap()).collect();
            assert!(blocks.iter().all(|block| &block[..] == SECRET));
            group.reset();
            let zeros = group.alloc(20_000).unwrap();
            assert!(zeros.iter().all(|&byte| byte == 0));
        }
    }
}

#[test]
fn nothing_secret_is_kept_warm() {
    alone("secret::nothing_secret_is_kept_warm", || {
        secret(Backing::Memfd).copy(SECRET).unwrap();
        assert_eq!(warm_memory().slots, 0);
        let mut group = secret(Backing::Anonymous);
        group.local().unwrap().copy(SECRET).unwrap();
        group.reset();
        drop(group);
        assert_eq!(warm_memory().slots, 0);
    });
}

#[test]
fn the_limit_of_locked_memory_is_an_error_that_names_it() {
    alone("secret::the_limit_of_locked_memory_is_an_error_that_names_it", || {
        // SAFETY: no arguments but a number; refused, it changes nothing, and this process needs no rights.
        if unsafe { libc::getuid() } == 0 && unsafe { libc::setuid(65534) } != 0 {
            return eprintln!("skipped: root may lock everything, and cannot become somebody else");
        }
        limit_resource(libc::RLIMIT_MEMLOCK, 64 * 1024);
        let group = secret(Backing::Memfd);
        let mut held = 0;
        let error = loop {
            match group.copy(&[7; 1000]) {
                Ok(_) => held += 1,
                Err(error) => break error,
            }
        };
        assert!(held >= 60, "{held}");
        let Error::Unlocked { wanted, locked, limit } = error else { unreachable!("{error}") };
        assert!(limit == 65_536 && locked <= limit && wanted + locked > limit, "{error}");
        assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
        assert!(group.stats().committed <= limit);
        MemGroup::new().unwrap().alloc(1 << 20).unwrap();
    });
}

#[test]
fn a_child_leaves_its_parents_secrets_alone() {
    alone("secret::a_child_leaves_its_parents_secrets_alone", || {
        for backing in [Backing::Memfd, Backing::Anonymous] {
            let mut group = secret(backing);
            let seen = group.copy(SECRET).unwrap().as_ptr();
            assert!(forked(|| {
                group.reset();
                group.copy(b"mine").is_ok()
            }));
            // SAFETY: the group is as it was in this process, so the block is still there.
            assert_eq!(unsafe { std::slice::from_raw_parts(seen, SECRET.len()) }, SECRET);
        }
    });
}
