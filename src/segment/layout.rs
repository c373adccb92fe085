//! Layout 1: the meaning of a segment's bytes, frozen by the golden test below.
//!
//! A segment is a header of [`BODY`] bytes, a body (the primitive's control words, all of them
//! valid when zero), and the elements. The creator writes the header's first [`SEALED`] bytes before the
//! segment is published, and nobody writes them again; they end in a checksum over themselves. Behind them
//! lies the one word that changes, the counter of holder numbers, which carries a check of its own. So the
//! next opener finds one flipped byte anywhere in the header.

mod tag;

use crate::error::Error;
use bytemuck::{Pod, Zeroable};
use std::fmt;
use std::mem::{align_of, offset_of, size_of};
use tag::TAG_LEN;
pub(crate) use tag::Tag;

/// The first bytes of every segment.
pub(crate) const MAGIC: [u8; 8] = *b"SHMKIT\0\x01";
/// The first word of a complete segment.
pub(crate) const COMPLETE: u64 = u64::from_le_bytes(MAGIC);
/// The mark of the first word while a holder lays a primitive out in memory that others have already. The
/// rest of the word is that holder's number, below 2^62.
pub(crate) const INITIALIZING: u64 = 1 << 63;
const _: () = assert!(COMPLETE & INITIALIZING == 0);
/// The layout version that this crate writes, and the only one it reads so far.
pub(crate) const LAYOUT: u32 = 1;
/// The offset of the body. A header ends here, whatever its version.
pub(crate) const BODY: usize = 512;
/// How many bytes of the header never change once the segment is published.
pub(crate) const SEALED: usize = size_of::<Header>();
/// The offset of the counter of holder numbers, which has a cache line of its own.
pub(crate) const NEXT_HOLDER: usize = 256;
/// The largest alignment that an element may have: a page, because a mapping begins at a page.
pub(crate) const MAX_ALIGN: usize = 4096;
const FLAG_PERSISTENT: u64 = 1;
const FLAG_ROOMY: u64 = 2;
const FLAGS: u64 = FLAG_PERSISTENT | FLAG_ROOMY;

/// The type that a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A [`Value`](crate::Value).
    Value,
    /// An [`Array`](crate::Array).
    Array,
    /// A [`Queue`](crate::Queue).
    Queue,
    /// A [`ByteQueue`](crate::ByteQueue).
    ByteQueue,
    /// A `MessageQueue`, of the feature `serde`.
    MessageQueue,
    /// A type of a newer version of this crate.
    Other(u32),
}

impl Kind {
    fn code(self) -> u32 {
        match self {
            Self::Value => 1,
            Self::Array => 2,
            Self::Queue => 3,
            Self::ByteQueue => 4,
            Self::MessageQueue => 5,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Value,
            2 => Self::Array,
            3 => Self::Queue,
            4 => Self::ByteQueue,
            5 => Self::MessageQueue,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value => f.write_str("Value"),
            Self::Array => f.write_str("Array"),
            Self::Queue => f.write_str("Queue"),
            Self::ByteQueue => f.write_str("ByteQueue"),
            Self::MessageQueue => f.write_str("MessageQueue"),
            Self::Other(code) => write!(f, "kind {code}"),
        }
    }
}

/// The sealed part of the header. Integers are little endian, like every machine that this crate supports.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    magic: [u8; 8],
    layout: u32,
    kind: u32,
    /// Length in bytes of the whole segment, and of its file.
    total_len: u64,
    /// Size in bytes of one element; never 0.
    elem_size: u64,
    /// The element's alignment in bytes, a power of two up to [`MAX_ALIGN`].
    elem_align: u64,
    /// How many elements fit; 1 for a value; the length of an array.
    capacity: u64,
    /// Bit 0: the name outlives its holders. Bit 1: the primitive was laid out in memory that existed before,
    /// and may be longer than the primitive. The other bits are 0.
    flags: u64,
    /// The process that made the segment, as its own pid namespace numbered it. For people only.
    creator_pid: u32,
    /// 0.
    reserved: u32,
    /// Nanoseconds since 1970, by the creator's wall clock. For people only.
    created: u64,
    /// The element type's unqualified name or the user's schema, filled up with NULs.
    tag: [u8; TAG_LEN],
    /// FNV-1a (64 bits) over everything above.
    checksum: u64,
}

// SAFETY: zeros are a valid value of every field.
unsafe impl Zeroable for Header {}
// SAFETY: `repr(C)`, made of integers alone, without padding, as the assertions below show.
unsafe impl Pod for Header {}

const _: () = {
    assert!(offset_of!(Header, layout) == 8);
    assert!(offset_of!(Header, kind) == 12);
    assert!(offset_of!(Header, total_len) == 16);
    assert!(offset_of!(Header, elem_size) == 24);
    assert!(offset_of!(Header, elem_align) == 32);
    assert!(offset_of!(Header, capacity) == 40);
    assert!(offset_of!(Header, flags) == 48);
    assert!(offset_of!(Header, creator_pid) == 56);
    assert!(offset_of!(Header, reserved) == 60);
    assert!(offset_of!(Header, created) == 64);
    assert!(offset_of!(Header, tag) == 72);
    assert!(offset_of!(Header, checksum) == 136);
    assert!(size_of::<Header>() == 144 && align_of::<Header>() == 8);
    assert!(SEALED <= NEXT_HOLDER && NEXT_HOLDER + 8 <= BODY);
};

/// Everything on which two openers of a segment must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) elem_size: u64,
    pub(crate) elem_align: u64,
    /// `None` if an opener takes any capacity.
    pub(crate) capacity: Option<u64>,
    pub(crate) tag: Tag,
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What is wrong with a header. The caller knows the place, and makes an [`Error`] with [`at`](Self::at).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// The file is no segment at all; the text says what it is instead.
    Foreign(String),
    /// The file is a segment, but not the one that was asked for.
    Mismatch {
        what: &'static str,
        expected: String,
        found: String,
    },
    /// The file is a segment that contradicts itself.
    Corrupt {
        what: &'static str,
        expected: String,
        found: String,
    },
}

impl HeaderError {
    /// Makes this an error of the crate, about the place `label`.
    pub(crate) fn at(self, label: &str) -> Error {
        let place = label.to_owned();
        match self {
            Self::Foreign(found) => Error::Foreign { place, found },
            Self::Mismatch {
                what,
                expected,
                found,
            } => Error::Mismatch {
                place,
                what,
                expected,
                found,
            },
            Self::Corrupt {
                what,
                expected,
                found,
            } => Error::Corrupt {
                place,
                what,
                expected,
                found,
            },
        }
    }
}

impl Header {
    /// Makes the header of a new segment.
    pub(crate) fn new(
        shape: &Shape,
        total_len: u64,
        persistent: bool,
        creator_pid: u32,
        created: u64,
    ) -> Self {
        let mut header = Self {
            magic: MAGIC,
            layout: LAYOUT,
            kind: shape.kind.code(),
            total_len,
            elem_size: shape.elem_size,
            elem_align: shape.elem_align,
            capacity: shape.capacity.unwrap_or(1),
            flags: if persistent { FLAG_PERSISTENT } else { 0 },
            creator_pid,
            reserved: 0,
            created,
            tag: shape.tag.bytes(),
            checksum: 0,
        };
        header.checksum = header.checksum_of_fields();
        header
    }

    /// Makes the header of a primitive in memory of `total_len` bytes that existed before.
    pub(crate) fn roomy(shape: &Shape, total_len: u64, creator_pid: u32) -> Self {
        let mut header = Self::new(shape, total_len, false, creator_pid, 0);
        header.flags |= FLAG_ROOMY;
        header.checksum = header.checksum_of_fields();
        header
    }

    fn checksum_of_fields(&self) -> u64 {
        fnv1a(&bytemuck::bytes_of(self)[..offset_of!(Header, checksum)])
    }

    /// Reads and validates the first bytes of a file of `file_len` bytes. `start` is shorter than a header if
    /// the file is.
    pub(crate) fn parse(start: &[u8], file_len: u64) -> Result<Self, HeaderError> {
        let Some(magic) = start.first_chunk::<8>() else {
            return Err(HeaderError::Foreign(format!("a file of {file_len} bytes")));
        };
        if *magic != MAGIC {
            return Err(HeaderError::Foreign(format!(
                "a file that begins with \"{}\"",
                magic.escape_ascii()
            )));
        }
        // From here on the file says that it is ours. The version comes before all else: nothing but the
        // magic and the version is known of another layout.
        if let Some(version) = start.get(8..12) {
            let version = u32::from_le_bytes(version.try_into().expect("four bytes"));
            if version != LAYOUT {
                return Err(HeaderError::Mismatch {
                    what: "layout",
                    expected: LAYOUT.to_string(),
                    found: version.to_string(),
                });
            }
        }
        let corrupt = |what, expected: String, found: String| HeaderError::Corrupt {
            what,
            expected,
            found,
        };
        if start.len() < SEALED || file_len < BODY as u64 {
            return Err(corrupt(
                "length",
                format!("at least {BODY} bytes"),
                format!("{file_len} bytes"),
            ));
        }
        let header: Self = bytemuck::pod_read_unaligned(&start[..SEALED]);
        let sum = header.checksum_of_fields();
        if header.checksum != sum {
            return Err(corrupt(
                "header",
                format!("checksum {sum:016x}"),
                format!("{:016x}", header.checksum),
            ));
        }
        let unknown = [
            ("flags", header.flags & !FLAGS, header.flags),
            (
                "reserved field",
                header.reserved.into(),
                header.reserved.into(),
            ),
        ];
        for (what, wrong, found) in unknown {
            if wrong != 0 {
                let expected = format!("no bit of {wrong:#x}");
                return Err(corrupt(what, expected, format!("{found:#x}")));
            }
        }
        if header.total_len != file_len {
            return Err(corrupt(
                "length",
                format!("{} bytes", header.total_len),
                format!("{file_len} bytes"),
            ));
        }
        Ok(header)
    }

    /// Compares the header with what an opener asks for.
    pub(crate) fn check(&self, shape: &Shape) -> Result<(), HeaderError> {
        let differ = |what, expected: String, found: String| {
            Err(HeaderError::Mismatch {
                what,
                expected,
                found,
            })
        };
        let kind = self.kind();
        if kind != shape.kind {
            return differ("kind", shape.kind.to_string(), kind.to_string());
        }
        if self.tag() != shape.tag {
            return differ("type", shape.tag.to_string(), self.tag().to_string());
        }
        let numbers = [
            ("size", shape.elem_size, self.elem_size),
            ("alignment", shape.elem_align, self.elem_align),
            (
                "capacity",
                shape.capacity.unwrap_or(self.capacity),
                self.capacity,
            ),
        ];
        for (what, expected, found) in numbers {
            if expected != found {
                return differ(what, expected.to_string(), found.to_string());
            }
        }
        Ok(())
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::from_code(self.kind)
    }

    pub(crate) fn tag(&self) -> Tag {
        Tag::from_bytes(self.tag)
    }

    pub(crate) fn total_len(&self) -> u64 {
        self.total_len
    }

    pub(crate) fn elem_size(&self) -> u64 {
        self.elem_size
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.flags & FLAG_PERSISTENT != 0
    }

    /// Returns whether the segment may be longer than its primitive.
    pub(crate) fn is_roomy(&self) -> bool {
        self.flags & FLAG_ROOMY != 0
    }

    pub(crate) fn creator_pid(&self) -> u32 {
        self.creator_pid
    }

    pub(crate) fn created(&self) -> u64 {
        self.created
    }
}

/// Returns the smallest multiple of the power of two `align` that is not below `offset`.
pub(crate) const fn align_up(offset: u64, align: u64) -> Option<u64> {
    match offset.checked_add(align - 1) {
        Some(end) => Some(end & !(align - 1)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            kind: Kind::Queue,
            elem_size: 16,
            elem_align: 8,
            capacity: Some(3),
            tag: Tag::of_text("Job"),
        }
    }

    fn header() -> Header {
        Header::new(&shape(), 1072, true, 7, 0x0102_0304)
    }

    #[test]
    fn golden_bytes_of_layout_1() {
        let mut golden = Vec::new();
        golden.extend(b"SHMKIT\0\x01");
        golden.extend([1, 0, 0, 0]); // layout
        golden.extend([3, 0, 0, 0]); // kind: queue
        golden.extend([0x30, 4, 0, 0, 0, 0, 0, 0]); // total length
        golden.extend([16, 0, 0, 0, 0, 0, 0, 0]); // element size
        golden.extend([8, 0, 0, 0, 0, 0, 0, 0]); // element alignment
        golden.extend([3, 0, 0, 0, 0, 0, 0, 0]); // capacity
        golden.extend([1, 0, 0, 0, 0, 0, 0, 0]); // flags: persistent
        golden.extend([7, 0, 0, 0, 0, 0, 0, 0]); // creator's pid, reserved
        golden.extend([4, 3, 2, 1, 0, 0, 0, 0]); // creation time
        golden.extend(b"Job");
        golden.extend([0; 61]);
        golden.extend([0xe6, 0x8c, 0x0f, 0xf9, 0x68, 0xd4, 0xf3, 0x76]); // checksum
        assert_eq!(bytemuck::bytes_of(&header()), golden);
        assert_eq!((BODY, NEXT_HOLDER), (512, 256));
    }

    #[test]
    fn golden_flags_of_layout_1() {
        let flags = |header: Header| header.flags;
        assert_eq!(flags(Header::new(&shape(), 1072, false, 7, 8)), 0);
        assert_eq!(flags(header()), 1);
        let roomy = Header::roomy(&shape(), 4096, 7);
        assert_eq!(flags(roomy), 2);
        assert_eq!(Header::parse(bytemuck::bytes_of(&roomy), 4096), Ok(roomy));
    }

    #[test]
    fn the_codes_of_kinds_stay() {
        use Kind::{Array, ByteQueue, MessageQueue, Queue, Value};
        let kinds = [Value, Array, Queue, ByteQueue, MessageQueue];
        for (code, kind) in (1..).zip(kinds) {
            assert_eq!((kind.code(), Kind::from_code(code)), (code, kind));
        }
        assert_eq!(Kind::from_code(99), Kind::Other(99));
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let sound = bytemuck::bytes_of(&header()).to_vec();
        assert_eq!(Header::parse(&sound, 1072), Ok(header()));
        for at in 0..SEALED {
            for mask in [1, 0x80, 0xff] {
                let mut flipped = sound.clone();
                flipped[at] ^= mask;
                let found = Header::parse(&flipped, 1072);
                assert!(found.is_err(), "byte {at} ^ {mask:#x}: {found:?}");
            }
        }
    }
}
