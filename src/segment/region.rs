//! [`Region`]: the checked pointer to the control words and elements of one primitive, in whatever
//! [`Memory`] it lives.

mod init;

use crate::error::{Error, Result};
use crate::os::{self, OwnedFd};
use crate::segment::layout::{
    BODY, Header, HeaderError, Kind, MAGIC, MAX_ALIGN, NEXT_HOLDER, Shape, Tag, align_up,
};
use crate::segment::lifecycle::{Blueprint, Segment};
use crate::segment::memory::Memory;
use crate::segment::place::{Place, ResolvedPlace, Target};
use crate::sync::{Deadline, Holder, Liveness};
use bytemuck::Pod;
use init::{Found, Initializer};
use std::cmp::Ordering as CmpOrdering;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long `open_or_create` goes on while others create and remove the name all the time.
const RACE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long `open_or_create` goes on while there is no space for the segment that it would create.
const SPACE_TIMEOUT: Duration = Duration::from_millis(200);

/// The pauses between two looks of an opener that waits for its segment: the first one, and the longest.
/// The longest pause bounds the opener's delay, and costs it a hundred looks a second.
const OPEN_PAUSES: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(10)];

// By what a second `create_in` finds its memory taken.
const BEING_LAID_OUT: &str = "a primitive that somebody is laying out";
const LAID_OUT: &str = "a primitive that was laid out before";
const NOT_OURS: &str = "something that is not a segment";

/// The control words of a primitive, as they lie in memory.
///
/// # Safety
/// The type is `repr(C)`, and made of atomics alone, so that writers in other processes may share a
/// reference to it. It is valid when all its bytes are zero, and aligned to at most [`BODY`].
pub(crate) unsafe trait Body {
    const KIND: Kind;
    /// Returns the distance in bytes between elements of `size` bytes.
    fn stride(size: u64) -> u64;
    /// Returns how many strides a primitive of that capacity has.
    fn strides(capacity: u64) -> u64;
    /// Returns the header's name for elements of type `T`.
    fn tag<T>() -> Tag {
        Tag::of_type::<T>()
    }
}

/// The offsets in a segment of one primitive.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Offset of the first element.
    data: u64,
    total_len: u64,
}

impl Plan {
    /// Returns `None` if no address space holds the segment.
    fn new<T, B: Body>(capacity: u64) -> Option<Self> {
        let align = (align_of::<T>() as u64).max(8);
        let data = align_up((BODY + size_of::<B>()) as u64, align)?;
        let stride = align_up(B::stride(size_of::<T>() as u64), align_of::<T>() as u64)?;
        let total_len = B::strides(capacity)
            .checked_mul(stride)?
            .checked_add(data)?;
        // The limit of `mmap`, of file offsets and of Rust's allocations.
        (total_len < i64::MAX as u64).then_some(Self { data, total_len })
    }
}

fn shape<T, B: Body>(tag: Tag, capacity: Option<u64>) -> Shape {
    const {
        assert!(
            size_of::<T>() > 0,
            "shared elements need a size of at least 1 byte"
        );
        assert!(
            align_of::<T>() <= MAX_ALIGN,
            "shared elements are aligned to at most 4096 bytes"
        );
    }
    Shape {
        kind: B::KIND,
        elem_size: size_of::<T>() as u64,
        elem_align: align_of::<T>() as u64,
        capacity,
        tag,
    }
}

/// Returns the tag on which creator and opener must agree.
fn tag<T, B: Body>(place: &ResolvedPlace<'_>) -> Tag {
    place.schema.map_or_else(B::tag::<T>, Tag::of_text)
}

/// An open primitive: its control words, its elements, and its memory.
///
/// Invariants:
/// 1. `body` points to a valid `B`, and `data` to all strides of `capacity` elements, inside the memory's
///    bytes. This is checked once, where the region is made, and holds whatever anybody writes later.
/// 2. `number` and both pointers stay valid as long as `memory` does.
pub(crate) struct Region<T, B> {
    body: NonNull<B>,
    data: NonNull<u8>,
    number: NonNull<AtomicU64>,
    capacity: u64,
    was_created: bool,
    memory: Arc<dyn Memory>,
    element: PhantomData<T>,
}

// SAFETY: the control words are atomics, the primitive's protocol guards the elements, and the memory
// itself is `Send` and `Sync`.
unsafe impl<T, B> Send for Region<T, B> {}
// SAFETY: as for `Send`.
unsafe impl<T, B> Sync for Region<T, B> {}

// A panic in user code leaves nothing half done behind a handle. If it ends an `update`, a `get_with` or a
// reservation, nothing is committed; if it ends an array's guard, the array is poisoned. The memory only
// answers who is alive, and runs no user code.
impl<T, B> UnwindSafe for Region<T, B> {}
impl<T, B> RefUnwindSafe for Region<T, B> {}

impl<T, B> Clone for Region<T, B> {
    fn clone(&self) -> Self {
        Self {
            memory: Arc::clone(&self.memory),
            ..*self
        }
    }
}

impl<T: Pod, B: Body> Region<T, B> {
    /// Creates a segment for `capacity` elements; `first` is the content of the first elements.
    pub(crate) fn create(place: &Place, capacity: usize, first: &[u8]) -> Result<Self> {
        let plan = Self::plan(&place.label(), capacity)?;
        Self::create_at(&place.resolve()?, plan, capacity, first)
    }

    fn create_at(
        place: &ResolvedPlace<'_>,
        plan: Plan,
        capacity: usize,
        first: &[u8],
    ) -> Result<Self> {
        let blueprint = Blueprint {
            shape: shape::<T, B>(tag::<T, B>(place), Some(capacity as u64)),
            total_len: usize::try_from(plan.total_len).expect("checked by the plan, on 64 bits"),
            contents: (usize::try_from(plan.data).expect("likewise"), first),
        };
        let segment = Segment::create(place, &blueprint)?;
        Ok(Self::new(Arc::new(segment), plan, capacity as u64, true))
    }

    /// Opens a segment of these elements, whatever its capacity. While there is none, this waits for as long
    /// as the place says.
    ///
    /// Polling needs no descriptor and works in every folder, even in one that does not exist yet; inotify
    /// does neither, and would have to fall back on polling.
    pub(crate) fn open(place: &Place) -> Result<Self> {
        let place = place.resolve()?;
        let has_path = matches!(place.target, Target::Path(_));
        let deadline = Deadline::after(place.open_timeout);
        let [mut pause, longest] = OPEN_PAUSES;
        loop {
            let opened = Self::open_at(&place, None);
            let is_absent = has_path && matches!(opened, Err(Error::NotFound { .. }));
            let Some(left) = deadline.left().filter(|_| is_absent) else {
                return opened;
            };
            os::sleep(pause.min(left));
            pause = (pause * 2).min(longest);
        }
    }

    /// Opens a segment of these elements; of this capacity, if one is given.
    fn open_at(place: &ResolvedPlace<'_>, capacity: Option<usize>) -> Result<Self> {
        let capacity = capacity.map(|capacity| capacity as u64);
        let shape = shape::<T, B>(tag::<T, B>(place), capacity);
        let (segment, header) = Segment::open(place, |header| accept::<T, B>(header, &shape))?;
        let plan = Plan::new::<T, B>(header.capacity()).expect("accepted just now");
        Ok(Self::new(Arc::new(segment), plan, header.capacity(), false))
    }

    /// Opens the segment that is there, or creates one, whatever others do with the name meanwhile.
    pub(crate) fn open_or_create(place: &Place, capacity: usize, first: &[u8]) -> Result<Self> {
        let plan = Self::plan(&place.label(), capacity)?;
        let place = place.resolve()?;
        if matches!(place.target, Target::Anonymous) {
            return Self::create_at(&place, plan, capacity, first);
        }
        let (deadline, space) = (
            Deadline::after(RACE_TIMEOUT),
            Deadline::after(SPACE_TIMEOUT),
        );
        let mut pause = Duration::from_millis(1 + u64::from(os::pid() % 7));
        loop {
            match Self::open_at(&place, Some(capacity)) {
                Err(Error::NotFound { .. }) => {}
                opened => return opened,
            }
            match Self::create_at(&place, plan, capacity, first) {
                Err(Error::AlreadyExists { .. }) if deadline.left().is_some() => {}
                // Perhaps others' drafts of this very segment fill the filesystem: all but one of them
                // will be gone in a moment.
                Err(Error::NoSpace { .. }) if space.left().is_some() => {
                    os::sleep(pause);
                    pause *= 2;
                }
                created => return created,
            }
        }
    }

    /// Lays the primitive out in existing memory, if nobody else did.
    pub(crate) fn create_in(
        memory: Arc<dyn Memory>,
        capacity: usize,
        first: &[u8],
    ) -> Result<Self> {
        let label = label_of(&*memory);
        let plan = Self::plan(&label, capacity)?;
        if plan.total_len > memory.len() as u64 {
            return Err(Error::NoSpace {
                place: label,
                needed: plan.total_len,
                available: Some(memory.len() as u64),
            });
        }
        if memory.number().load(Ordering::Relaxed) == 0 {
            return Err(Error::Unsupported {
                place: label,
                what: "this process could not become a holder of the memory",
            });
        }
        let shape = shape::<T, B>(B::tag::<T>(), Some(capacity as u64));
        let header = Header::roomy(&shape, memory.len() as u64, os::pid());
        let data = usize::try_from(plan.data).expect("inside the memory");
        let init = Initializer::begin(&*memory).map_err(|found| Error::AlreadyExists {
            place: label,
            by: match found {
                Found::Nothing | Found::Initializing => BEING_LAID_OUT,
                Found::Primitive => LAID_OUT,
                Found::Foreign(_) => NOT_OURS,
            },
        })?;
        init.write(MAGIC.len(), &bytemuck::bytes_of(&header)[MAGIC.len()..]);
        init.write(data, first);
        init.publish();
        Ok(Self::new(memory, plan, capacity as u64, true))
    }

    /// Finds the primitive that somebody laid out in this memory.
    pub(crate) fn open_in(memory: Arc<dyn Memory>) -> Result<Self> {
        let label = label_of(&*memory);
        let sealed;
        let word;
        let start: &[u8] = if memory.len() < BODY {
            &[] // no space for a header, so nobody laid anything out
        } else {
            match init::sealed(&*memory) {
                Ok(found) => {
                    sealed = found;
                    &sealed
                }
                Err(Found::Foreign(found)) => {
                    word = found.to_le_bytes();
                    &word
                }
                Err(_) => return Err(Error::NotFound { place: label }),
            }
        };
        let shape = shape::<T, B>(B::tag::<T>(), None);
        let header = Header::parse(start, memory.len() as u64)
            .and_then(|header| accept::<T, B>(&header, &shape).map(|()| header))
            .map_err(|error| error.at(&label))?;
        let plan = Plan::new::<T, B>(header.capacity()).expect("accepted just now");
        Ok(Self::new(memory, plan, header.capacity(), false))
    }

    fn plan(label: &str, capacity: usize) -> Result<Plan> {
        let plan = Plan::new::<T, B>(capacity as u64).filter(|_| capacity > 0);
        plan.ok_or_else(|| Error::InvalidSize {
            place: label.to_owned(),
            found: format!("{capacity} elements of {} bytes", size_of::<T>()),
            expected: "at least 1 element, and less than 2^63 bytes in all",
        })
    }

    /// Makes the region. `plan` is the plan for `capacity`, and lies within `memory`.
    fn new(memory: Arc<dyn Memory>, plan: Plan, capacity: u64, was_created: bool) -> Self {
        const { assert!(align_of::<B>() <= BODY && BODY.is_multiple_of(align_of::<B>())) };
        assert!(
            plan.total_len <= memory.len() as u64,
            "checked by create and open"
        );
        let base = memory.base();
        let at = |offset: usize| {
            let pointer = base.as_ptr().wrapping_add(offset);
            NonNull::new(pointer).expect("inside the memory, which is not at address 0")
        };
        Self {
            body: at(BODY).cast(),
            data: at(usize::try_from(plan.data).expect("inside the memory")),
            number: NonNull::from(memory.number()),
            capacity,
            was_created,
            memory,
            element: PhantomData,
        }
    }
}

/// Checks that a header makes `Region::new` sound, and is what the caller asked for.
fn accept<T, B: Body>(header: &Header, shape: &Shape) -> Result<(), HeaderError> {
    header.check(shape)?;
    let plan = Plan::new::<T, B>(header.capacity()).filter(|_| header.capacity() > 0);
    let fits = |plan: Plan| match plan.total_len.cmp(&header.total_len()) {
        CmpOrdering::Less => header.is_roomy(),
        CmpOrdering::Equal => true,
        CmpOrdering::Greater => false,
    };
    match plan {
        Some(plan) if fits(plan) => Ok(()),
        _ => Err(HeaderError::Corrupt {
            what: "capacity",
            expected: match header.is_roomy() {
                true => format!("what fits into {} bytes", header.total_len()),
                false => format!("what fills {} bytes", header.total_len()),
            },
            found: format!(
                "{} elements of {} bytes",
                header.capacity(),
                header.elem_size()
            ),
        }),
    }
}

fn label_of(memory: &dyn Memory) -> String {
    memory.name().unwrap_or("(memory)").to_owned()
}

impl<T, B> Region<T, B> {
    /// Returns the control words.
    #[inline]
    pub(crate) fn body(&self) -> &B {
        // SAFETY: by invariants 1 and 2 the pointer is valid; a `Body` may be shared with writers.
        unsafe { self.body.as_ref() }
    }

    /// Returns the first element. The primitive's protocol says what may be done with it.
    #[inline]
    pub(crate) fn data(&self) -> NonNull<u8> {
        self.data
    }

    /// Returns this process, as a holder of the memory.
    #[inline]
    pub(crate) fn holder(&self) -> Holder<'_> {
        Holder {
            // SAFETY: invariant 2.
            number: unsafe { self.number.as_ref() },
            others: self,
        }
    }

    /// Returns how many elements fit; at least 1.
    #[inline]
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.memory.name()
    }

    pub(crate) fn is_reachable(&self) -> bool {
        self.memory.is_reachable()
    }

    pub(crate) fn was_created(&self) -> bool {
        self.was_created
    }

    /// Opens the segment's file afresh, to pass the descriptor on.
    pub(crate) fn try_clone_fd(&self) -> Result<OwnedFd> {
        let label = label_of(&*self.memory);
        let Some(fd) = self.memory.fd() else {
            return Err(Error::Unsupported {
                place: label,
                what: "there is no file behind this memory",
            });
        };
        os::reopen(fd, None)
            .map(OwnedFd::from)
            .map_err(|error| Error::from_os(&label, "reopen the segment", error))
    }
}

impl<T, B> Liveness for Region<T, B> {
    fn holder_state(&self, number: u64) -> crate::sync::HolderState {
        self.memory.holder_state(number)
    }

    fn identity(&self) -> (u64, u64) {
        self.memory.identity()
    }
}

const _: () = assert!(NEXT_HOLDER + 8 <= BODY);
