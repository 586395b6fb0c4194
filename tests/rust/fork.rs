//! After a fork parent and child never hand out the same bytes.

use memgroup::MemGroup;

use crate::support::{alone, backings, forked, group_of, wait_for};

#[test]
fn parent_and_child_never_share_new_bytes() {
    alone("fork::parent_and_child_never_share_new_bytes", || {
        for backing in backings() {
            let group = group_of(backing);
            let before = group.copy(b"from before").unwrap();
            let child_is_content = forked(|| {
                let mut blocks: Vec<_> = (0..5000).map(|_| group.alloc(100).unwrap()).collect();
                blocks.iter_mut().for_each(|block| block.fill(0xcc));
                // A grandchild starts on new slots, too.
                let grandchild = forked(|| {
                    group.alloc(100).unwrap().fill(0xdd);
                    blocks.iter().all(|block| block.iter().all(|&byte| byte == 0xcc)) && group.stats().slots.len() > 2
                });
                grandchild && &before[..] == b"from before"
            });
            assert!(child_is_content);
            let mut blocks: Vec<_> = (0..5000).map(|_| group.alloc(100).unwrap()).collect();
            blocks.iter_mut().for_each(|block| block.fill(0xaa));
            assert!(forked(|| {
                (0..5000).for_each(|_| group.alloc(100).unwrap().fill(0xcc));
                true
            }));
            assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == 0xaa)));
            assert_eq!(&before[..], b"from before");
        }
    });
}

#[test]
fn a_reset_after_a_fork_leaves_the_child_its_bytes() {
    alone("fork::a_reset_after_a_fork_leaves_the_child_its_bytes", || {
        for backing in backings() {
            let mut group = group_of(backing);
            let (reader, mut writer) = std::io::pipe().unwrap();
            let theirs: *const u8 = group.copy(&[7; 1000]).unwrap().as_ptr();
            // SAFETY: as in forked.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                drop(writer);
                // Until the parent is done.
                std::io::Read::read_to_end(&mut &reader, &mut Vec::new()).unwrap();
                // SAFETY: the parent's reset must not touch what this process was given.
                let kept = unsafe { std::slice::from_raw_parts(theirs, 1000) }.iter().all(|&byte| byte == 7);
                // SAFETY: _exit never returns and runs nothing of the parent's.
                unsafe { libc::_exit(i32::from(!kept)) };
            }
            drop(reader);
            group.reset();
            group.alloc(1000).unwrap().fill(8);
            std::io::Write::write_all(&mut writer, b"done").unwrap();
            drop(writer);
            assert_eq!(wait_for(pid), 0);
        }
    });
}

#[test]
fn a_child_may_reset_and_free() {
    alone("fork::a_child_may_reset_and_free", || {
        let mut group = MemGroup::new().unwrap();
        group.alloc(100).unwrap().fill(1);
        let address = group.alloc(100).unwrap().as_ptr();
        assert!(forked(|| {
            group.reset();
            let elsewhere = group.alloc(100).unwrap().as_ptr() != address;
            group.free();
            elsewhere
        }));
    });
}
