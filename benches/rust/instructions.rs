//! The hot paths of the crate, so many times: `python benches/python/instructions.py` counts their instructions.
//!
//! ```text
//! cargo run --release --example instructions -- shared 100000
//! ```

use std::alloc::Layout;
use std::error::Error;
use std::hint::black_box;

use memgroup::MemGroup;

const SIZE: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(work), Some(calls)) = (arguments.next(), arguments.next()) else {
        return Err("usage: instructions shared|owner|pool|pool-owner CALLS".into());
    };
    let calls: usize = calls.parse()?;
    let group = MemGroup::new()?;
    match work.as_str() {
        "shared" => shared(&group, calls)?,
        "owner" => owner(&group, calls)?,
        "pool" => pool(&group, calls)?,
        "pool-owner" => pool_owner(&group, calls)?,
        other => return Err(format!("no work {other}: shared, owner, pool or pool-owner").into()),
    }
    Ok(())
}

fn shared(group: &MemGroup, calls: usize) -> Result<(), memgroup::Error> {
    for _ in 0..calls {
        black_box(group.alloc(black_box(SIZE))?);
    }
    Ok(())
}

fn owner(group: &MemGroup, calls: usize) -> Result<(), memgroup::Error> {
    let local = group.local()?;
    for _ in 0..calls {
        black_box(local.alloc(black_box(SIZE))?);
    }
    Ok(())
}

fn pool(group: &MemGroup, calls: usize) -> Result<(), memgroup::Error> {
    let pool = group.pool(Layout::new::<[u8; SIZE]>(), None)?;
    for _ in 0..calls {
        black_box(pool.alloc()?.as_mut_ptr());
    }
    Ok(())
}

fn pool_owner(group: &MemGroup, calls: usize) -> Result<(), memgroup::Error> {
    let pool = group.pool(Layout::new::<[u8; SIZE]>(), None)?;
    let local = pool.local()?;
    for _ in 0..calls {
        black_box(local.alloc()?.as_mut_ptr());
    }
    Ok(())
}
