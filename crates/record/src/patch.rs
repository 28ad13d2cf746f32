//! Changing fixed fields of a record in place.

use std::net::SocketAddr;

use crate::builder::{canonical, put_host};
use crate::layout::{self, Positions, RECORD_OVERHEAD, RecordError};
use crate::sys_flag;
use crate::view::{be_i32, peek_len};

/// One record whose fixed fields can be changed. Only size, magic and the room for the fixed fields are checked.
#[derive(Debug)]
pub struct RecordMut<'a> {
    bytes: &'a mut [u8],
    positions: Positions,
}

impl<'a> RecordMut<'a> {
    /// Takes bytes that are exactly one record.
    ///
    /// # Errors
    /// Size or magic are not those of one record of this length.
    pub fn new(bytes: &'a mut [u8]) -> Result<Self, RecordError> {
        let have = bytes.len();
        let size = peek_len(bytes)?.ok_or(RecordError::Truncated { have, need: 8 })?;
        if size > have {
            return Err(RecordError::Truncated { have, need: size });
        }
        if size < have {
            return Err(RecordError::Trailing { extra: have - size });
        }
        let positions = Positions::new(be_i32(bytes, layout::SYS_FLAG_AT));
        let v6_bytes = positions.body_len - Positions::new(0).body_len;
        if have < RECORD_OVERHEAD + v6_bytes {
            return Err(RecordError::Truncated { have, need: RECORD_OVERHEAD + v6_bytes });
        }
        Ok(Self { bytes, positions })
    }

    /// Sets the queue.
    pub fn set_queue_id(&mut self, queue_id: i32) -> &mut Self {
        self.put(layout::QUEUE_ID_AT, &queue_id.to_be_bytes())
    }

    /// Sets the index of the message in its queue.
    pub fn set_queue_offset(&mut self, queue_offset: i64) -> &mut Self {
        self.put(layout::QUEUE_OFFSET_AT, &queue_offset.to_be_bytes())
    }

    /// Sets the byte position of the record in the log.
    pub fn set_physical_offset(&mut self, physical_offset: i64) -> &mut Self {
        self.put(layout::PHYSICAL_OFFSET_AT, &physical_offset.to_be_bytes())
    }

    /// Sets the transaction state, one of [`crate::sys_flag`]'s `TRANSACTION_…`.
    pub fn set_transaction(&mut self, state: i32) -> &mut Self {
        let flag = be_i32(self.bytes, layout::SYS_FLAG_AT);
        self.put(layout::SYS_FLAG_AT, &sys_flag::with_transaction(flag, state).to_be_bytes())
    }

    /// Sets the time of the broker in ms.
    pub fn set_store_timestamp(&mut self, store_timestamp_ms: i64) -> &mut Self {
        self.put(self.positions.store_timestamp, &store_timestamp_ms.to_be_bytes())
    }

    /// Sets how often consumption has failed.
    pub fn set_reconsume_times(&mut self, reconsume_times: i32) -> &mut Self {
        self.put(self.positions.reconsume_times, &reconsume_times.to_be_bytes())
    }

    /// Sets the physical offset of the half message.
    pub fn set_prepared_transaction_offset(&mut self, offset: i64) -> &mut Self {
        self.put(self.positions.prepared_transaction_offset, &offset.to_be_bytes())
    }

    /// Sets the address of the broker.
    ///
    /// # Errors
    /// The address is of another family than the one in the record, whose room is fixed.
    pub fn set_store_host(&mut self, store_host: SocketAddr) -> Result<&mut Self, RecordError> {
        let store_host = canonical(store_host);
        let v6 = be_i32(self.bytes, layout::SYS_FLAG_AT) & sys_flag::STORE_HOST_V6 != 0;
        if store_host.is_ipv6() != v6 {
            return Err(RecordError::HostFamily);
        }
        let mut room = &mut self.bytes[self.positions.store_host..];
        put_host(&mut room, store_host);
        Ok(self)
    }

    /// Writes a field; the constructor has made sure that every field fits.
    fn put(&mut self, at: usize, field: &[u8]) -> &mut Self {
        self.bytes[at..at + field.len()].copy_from_slice(field);
        self
    }
}

/// Sets queue offset and physical offset of bytes that are exactly one record.
///
/// # Errors
/// The bytes are not one record.
pub fn patch_offsets(record: &mut [u8], queue_offset: i64, physical_offset: i64) -> Result<(), RecordError> {
    RecordMut::new(record)?.set_queue_offset(queue_offset).set_physical_offset(physical_offset);
    Ok(())
}

/// Sets store time (ms) and store host of bytes that are exactly one record.
///
/// # Errors
/// The bytes are not one record, or the host is of another address family than the one in the record.
pub fn patch_store(record: &mut [u8], store_timestamp_ms: i64, store_host: SocketAddr) -> Result<(), RecordError> {
    RecordMut::new(record)?.set_store_host(store_host)?.set_store_timestamp(store_timestamp_ms);
    Ok(())
}
