//! The hot paths of the crate, so many times: `python benches/python/instructions.py` counts their instructions.
//!
//! ```text
//! cargo run --release --example instructions -- shared 100000
//! ```

use std::error::Error;
use std::hint::black_box;

use memgroup::MemGroup;

const SIZE: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(work), Some(calls)) = (arguments.next(), arguments.next()) else {
        return Err("usage: instructions shared|owner CALLS".into());
    };
    let calls: usize = calls.parse()?;
    let group = MemGroup::new()?;
    match work.as_str() {
        "shared" => shared(&group, calls)?,
        "owner" => owner(&group, calls)?,
        other => return Err(format!("no work {other}: shared or owner").into()),
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
