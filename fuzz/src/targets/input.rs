//! Taking an input apart.

/// Reads small decisions off the front of an input. At its end every number is 0 and every slice is empty, so that any
/// input means something and a shorter one means less.
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// A number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    pub fn u64(&mut self) -> u64 {
        u64::from(self.u32()) | u64::from(self.u32()) << 32
    }

    /// A number that is mostly small, sometimes at an edge of 64 bits and sometimes any.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => u64::from(small),
            near @ 200..=219 => u64::MAX - u64::from(near - 200),
            half @ 220..=229 => (1 << 63) - u64::from(half - 220),
            230..=239 => u64::from(self.u16()),
            240..=247 => u64::from(self.u32()),
            _ => self.u64(),
        }
    }

    /// As [`Self::number`], of 32 bits.
    pub fn number_u32(&mut self) -> u32 {
        match self.byte() {
            small @ 0..=199 => u32::from(small),
            near @ 200..=219 => u32::MAX - u32::from(near - 200),
            half @ 220..=229 => (1 << 31) - u32::from(half - 220),
            230..=239 => u32::from(self.u16()),
            _ => self.u32(),
        }
    }

    /// The next `len` bytes, or what is left.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// A length of one byte and as many bytes.
    pub fn short(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        self.take(len)
    }

    /// A length of two bytes and as many bytes.
    pub fn long(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16());
        self.take(len)
    }

    /// A short text; what is no UTF-8 is replaced.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.short()).into_owned()
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}
