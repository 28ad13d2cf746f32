//! Memory of entries' payloads, used again and again.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers kept for the next entries.
const KEPT_MAX: usize = 4;

/// Buffers that are free. The system clears each page of memory that was given back and is taken again, which for a buffer
/// of hundreds of KiB costs more than filling it.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// A buffer for about `bytes`: one that it would fill at least by half, if there is one.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = free.iter().position(|buffer| (bytes..=bytes * 2).contains(&buffer.capacity()));
        let found = fits.map(|at| free.swap_remove(at));
        drop(free);
        found.unwrap_or_else(|| Vec::with_capacity(bytes))
    }

    fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The oldest goes: sizes change with the load.
        if free.len() == KEPT_MAX {
            free.remove(0);
        }
        free.push(buffer);
    }

    /// A payload to be shared by log and peers; its buffer comes back when the last of them lets go. What fills less than
    /// half of its buffer is copied: what is held must not be more than twice what is counted.
    pub fn share(&self, payload: Vec<u8>) -> Bytes {
        if payload.len() >= payload.capacity() / 2 {
            return Bytes::from_owner(Lent { payload, home: self.clone() });
        }
        let bytes = Bytes::copy_from_slice(&payload);
        self.give(payload);
        bytes
    }
}

/// A payload in a buffer that comes back.
struct Lent {
    payload: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.payload));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &Buffers, bytes: usize) -> Vec<u8> {
        let mut buffer = buffers.take(bytes);
        assert!(buffer.is_empty());
        buffer.resize(bytes, 7);
        buffer
    }

    #[test]
    fn a_buffer_comes_back_when_the_last_holder_of_its_payload_lets_go() {
        let buffers = Buffers::default();
        let payload = filled(&buffers, 1000);
        let place = payload.as_ptr();
        let one = buffers.share(payload);
        let other = one.slice(10..20);
        assert_eq!((one.as_ptr(), &other[..]), (place, &[7; 10][..]));
        drop(one);
        let next = buffers.take(1000);
        assert_ne!(next.as_ptr(), place, "it is still read");
        drop(other);
        let next = buffers.take(900);
        assert_eq!(next.as_ptr(), place);
    }

    #[test]
    fn a_small_payload_holds_no_large_buffer_and_the_buffer_is_free_at_once() {
        let buffers = Buffers::default();
        let mut payload = filled(&buffers, 1000);
        let place = payload.as_ptr();
        payload.truncate(100);
        let shared = buffers.share(payload);
        assert_eq!(&shared[..], [7; 100]);
        assert_ne!(shared.as_ptr(), place);
        let next = buffers.take(100);
        assert_ne!(next.as_ptr(), place, "far too large for that");
        let next = buffers.take(800);
        assert_eq!(next.as_ptr(), place);
    }

    #[test]
    fn few_are_kept() {
        let buffers = Buffers::default();
        let all: Vec<_> = (0..10).map(|_| buffers.share(filled(&buffers, 1000))).collect();
        drop(all);
        assert_eq!(buffers.0.lock().unwrap().len(), KEPT_MAX);
    }
}
