//! What the handles have in common: how they are made, where they live, and how they take a lock.

use crate::error::GetError;
use crate::segment::Region;
use crate::sync::{Lock, LockError, LockGuard, LockId, LockWord, Wait};

/// The six constructors of a handle, and `new`.
///
/// `constructors! { "queue", Region, capacity: usize => (capacity, &[]); ... }` makes the constructors of a
/// handle over a `Region` that take `capacity` and pass `(capacity, &[])` on. The caller writes each
/// one's purpose and example; the errors, which are the same for all, stand here.
macro_rules! constructors {
    (
        $noun:literal, $inner:ident, $param:ident: $type:ty => ($($args:expr),*);
        $(#[$new:meta])* new;
        $(#[$create:meta])* create;
        $(#[$open:meta])* open;
        $(#[$open_or_create:meta])* open_or_create;
        $(#[$create_in:meta])* create_in;
        $(#[$open_in:meta])* open_in;
    ) => {
        $(#[$new])*
        ///
        /// # Errors
        /// [`Error::InvalidSize`](crate::Error::InvalidSize) for a size of 0, or one that no address space
        /// holds; [`NoSpace`](crate::Error::NoSpace); [`Os`](crate::Error::Os).
        pub fn new($param: $type) -> Result<Self> {
            Self::create(Place::anonymous(), $param)
        }

        $(#[$create])*
        ///
        /// The memory is reserved here and now, and the name appears once everything behind it is complete.
        ///
        /// # Errors
        /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) if the name is taken (the leftover of a
        /// crash of all holders is replaced); [`InvalidSize`](crate::Error::InvalidSize) for a size of 0,
        /// or one that no address space holds; [`NoSpace`](crate::Error::NoSpace),
        /// [`InvalidName`](crate::Error::InvalidName),
        /// [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled),
        /// [`Os`](crate::Error::Os).
        pub fn create(place: impl Into<Place>, $param: $type) -> Result<Self> {
            $inner::create(&place.into(), $($args),*).map(Self::of)
        }

        $(#[$open])*
        ///
        /// # Errors
        /// [`Error::NotFound`](crate::Error::NotFound); [`Foreign`](crate::Error::Foreign),
        /// [`Corrupt`](crate::Error::Corrupt) or [`Mismatch`](crate::Error::Mismatch) for anything else
        #[doc = concat!("than a sound ", $noun, " of this type, which is left as it was;")]
        /// [`InvalidName`](crate::Error::InvalidName),
        /// [`PermissionDenied`](crate::Error::PermissionDenied), [`Stalled`](crate::Error::Stalled),
        /// [`Os`](crate::Error::Os).
        pub fn open(place: impl Into<Place>) -> Result<Self> {
            $inner::open(&place.into()).map(Self::of)
        }

        $(#[$open_or_create])*
        ///
        /// Of several processes that race, one creates, and all of them end with the same segment.
        ///
        /// # Errors
        /// As for [`open`](Self::open) and [`create`](Self::create); another capacity is a
        /// [`Mismatch`](crate::Error::Mismatch).
        pub fn open_or_create(place: impl Into<Place>, $param: $type) -> Result<Self> {
            $inner::open_or_create(&place.into(), $($args),*).map(Self::of)
        }

        $(#[$create_in])*
        ///
        /// # Errors
        /// [`Error::InvalidSize`](crate::Error::InvalidSize); [`NoSpace`](crate::Error::NoSpace) if the
        #[doc = concat!($noun, " does not fit;")]
        /// [`AlreadyExists`](crate::Error::AlreadyExists) if something is there, or if somebody else is
        /// laying something out; [`Unsupported`](crate::Error::Unsupported) in a forked child that could
        /// not become a holder.
        pub fn create_in(memory: Arc<dyn Memory>, $param: $type) -> Result<Self> {
            $inner::create_in(memory, $($args),*).map(Self::of)
        }

        $(#[$open_in])*
        ///
        /// # Errors
        /// [`Error::NotFound`](crate::Error::NotFound) if nothing was laid out, or not to its end yet;
        /// [`Foreign`](crate::Error::Foreign), [`Corrupt`](crate::Error::Corrupt),
        /// [`Mismatch`](crate::Error::Mismatch).
        pub fn open_in(memory: Arc<dyn Memory>) -> Result<Self> {
            $inner::open_in(memory).map(Self::of)
        }
    };
}

/// The methods that tell where a handle's segment lives; `$inner` is the field that knows.
macro_rules! place_methods {
    ($inner:tt) => {
        /// Returns the name or the path of the place; `None` for anonymous memory and for memory of your
        /// own.
        #[must_use]
        pub fn name(&self) -> Option<&str> {
            self.$inner.name()
        }

        /// Returns whether this handle, or the handle that it was cloned from, created the segment.
        #[must_use]
        pub fn was_created(&self) -> bool {
            self.$inner.was_created()
        }

        /// Opens the segment's file afresh, to pass the descriptor to another process, which opens it with
        /// [`Place::fd`]. The descriptor holds nothing: keep this handle until the other process has opened
        /// the descriptor.
        ///
        /// # Errors
        /// [`Error::PermissionDenied`](crate::Error::PermissionDenied),
        /// [`Os`](crate::Error::Os); [`Unsupported`](crate::Error::Unsupported) if the memory is no file.
        pub fn try_clone_fd(&self) -> Result<OwnedFd> {
            self.$inner.try_clone_fd()
        }
    };
}

pub(super) use {constructors, place_methods};

/// Takes the lock at `word`, one of the region's control words; `None` if a live owner has it and the wait
/// is over.
///
/// # Panics
/// If the word names an owner that never was. `noun` says whose word it is.
#[inline]
pub(super) fn lock_word<'a, T, B>(
    region: &'a Region<T, B>,
    word: &'a LockWord,
    wait: Wait,
    noun: &str,
) -> Option<LockGuard<'a>> {
    match Lock::new(word, region.holder(), LockId(0)).lock(wait) {
        Ok(guard) => Some(guard),
        Err(LockError::Busy | LockError::TimedOut) => None,
        Err(LockError::Corrupt) => panic!(
            "the lock word of {} names an owner that never was: a peer wrote where it must not",
            region.name().unwrap_or(noun)
        ),
    }
}

/// Maps the positions of a ring to slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    count: u64,
    /// `count - 1` if the count is a power of two, so that a slot is found without a division; else 0.
    mask: u64,
}

impl Slots {
    pub(super) fn new(count: u64) -> Self {
        let mask = if count.is_power_of_two() {
            count - 1
        } else {
            0
        };
        Self { count, mask }
    }

    #[inline]
    pub(super) fn count(self) -> u64 {
        self.count
    }

    /// Returns the slot of a position: less than the count for every position.
    #[inline]
    pub(super) fn index(self, position: u64) -> usize {
        let index = if self.mask != 0 {
            position & self.mask
        } else {
            position % self.count
        };
        #[allow(clippy::cast_possible_truncation)] // less than the count, whose slots were mapped
        let index = index as usize;
        index
    }
}

/// Ends an iterator at the first error that is not an item of its own.
///
/// # Panics
/// If the error is [`GetError::Corrupt`].
pub(super) fn item_or_end<T>(got: Result<T, GetError>) -> Option<T> {
    match got {
        Ok(item) => Some(item),
        Err(GetError::Corrupt) => panic!("{}", GetError::Corrupt),
        Err(_) => None,
    }
}
