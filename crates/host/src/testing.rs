//! What tests of other crates need of this machine.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports from here on, and no more than so many. The system hands out higher ones by itself, to connections as well: one
/// of those that is free now may be somebody's a moment later.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// The first of `n` neighbouring ports on loopback that are free, and that this process was not given before.
///
/// # Panics
/// There are none.
#[must_use]
pub fn free_ports(n: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin in different places.
    let begin = u32::from(FIRST) + std::process::id() * 1_009 % u32::from(COUNT);
    let begin = u16::try_from(begin).unwrap_or(FIRST);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(n, Ordering::Relaxed) % COUNT;
        let port = FIRST + (begin - FIRST + step) % COUNT;
        if (port..port + n).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
    panic!("no {n} free neighbouring ports on loopback")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_given_a_port_twice_nor_one_that_is_taken() {
        let first = free_ports(3);
        let taken: Vec<TcpListener> =
            (first + 3..first + 8).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        let second = free_ports(2);
        assert!(!(first..first + 3).contains(&second) && !(first..first + 3).contains(&(second + 1)));
        for listener in &taken {
            let port = listener.local_addr().unwrap().port();
            assert!(port != second && port != second + 1, "{port} is taken");
        }
        assert!((FIRST..FIRST + COUNT + 3).contains(&second));
    }
}
