//! Handles that serde can write and read. A handle is written as the path of its segment's file; a reader
//! opens that path.
//!
//! A pool's worker keeps open the handles that it has read, so that the next task with the same handle does
//! not open the segment again. The worker must not keep a segment alive for long, so it closes a handle when
//! there are no tasks, when [`UNUSED`] tasks have not used the handle, and when the path no longer leads to
//! the segment.

use super::array::Array;
use super::byte_queue::ByteQueue;
use super::element::Element;
use super::message_queue::MessageQueue;
use super::queue::Queue;
use super::value::Value;
use crate::error::{Error, Result};
use crate::os::{self, File, FileId, FileStatus, OwnedFd};
use crate::segment::{Place, SHM_DIR, Tag, read_header};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// How many tasks may go by before a worker closes a handle that none of them used.
const UNUSED: u64 = 64;

/// The form in which a handle is written.
struct HandleRef {
    /// The path of the segment's file.
    path: Vec<u8>,
    /// The creator's schema, if the segment has one.
    schema: Option<String>,
}

/// A type whose values are handles to segments.
trait Handle: Clone + 'static {
    fn name(&self) -> Option<&str>;
    fn fd(&self) -> Result<OwnedFd>;
    fn open(place: Place) -> Result<Self>;
    /// Returns the tag that the header has if the segment was created without a schema.
    fn tag() -> Tag;
}

/// Returns whether a path leads to the file with this id.
fn leads_to(path: &Path, id: FileId) -> bool {
    FileStatus::at(path).is_ok_and(|there| there.id == id)
}

fn refer_to<H: Handle>(handle: &H) -> Result<HandleRef, String> {
    let Some(name) = handle.name() else {
        return Err("a handle without a name can't be sent: it has none to be opened by".into());
    };
    let file = File::from(handle.fd().map_err(|error| error.to_string())?);
    let here = FileStatus::of(&file).map_err(|error| format!("{name}: {error}"))?;
    let leads_here = |path: &PathBuf| leads_to(path, here.id);
    // A name without a slash belongs to a file in `SHM_DIR`, or to one in this process's working folder.
    let named = (!name.contains('/')).then(|| Path::new(SHM_DIR).join(name));
    let path = named
        .filter(leads_here)
        .or_else(|| os::absolute(Path::new(name)).ok().filter(leads_here))
        .ok_or_else(|| format!("{name}: the name no longer leads to the segment"))?;
    let tag = read_header(&file, name)
        .map_err(|error| error.to_string())?
        .tag();
    Ok(HandleRef {
        path: os::path_into_bytes(path),
        schema: (tag != H::tag()).then(|| tag.to_string()),
    })
}

fn place_of(path: &Path, schema: Option<&str>) -> Place {
    let named = path.parent().filter(|folder| *folder == Path::new(SHM_DIR));
    let name = named.and_then(|_| path.file_name()?.to_str());
    let place = name.map_or_else(|| Place::file(path), Place::named);
    match schema {
        Some(schema) => place.schema(schema),
        None => place,
    }
}

/// A handle that a worker keeps open.
struct OpenHandle {
    kind: TypeId,
    path: PathBuf,
    schema: Option<String>,
    id: FileId,
    handle: Box<dyn Any>,
    /// The number of the last task that used the handle.
    used: u64,
}

impl OpenHandle {
    fn is_current(&self) -> bool {
        leads_to(&self.path, self.id)
    }
}

#[derive(Default)]
struct OpenHandles {
    handles: Vec<OpenHandle>,
    /// The number of tasks that have begun.
    task: u64,
}

thread_local! {
    /// The open handles of a worker's main thread; `None` in every other thread.
    static OPEN: RefCell<Option<OpenHandles>> = const { RefCell::new(None) };
    /// The reason why the last handle could not be written or read, kept because postcard's errors have no
    /// room for a text.
    static REASON: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes this thread keep open the handles that it will read.
pub(crate) fn keep_open() {
    OPEN.set(Some(OpenHandles::default()));
}

/// Closes the handles that this thread keeps open.
pub(crate) fn let_go() {
    let closed =
        OPEN.with_borrow_mut(|open| open.as_mut().map(|open| std::mem::take(&mut open.handles)));
    drop(closed); // after the borrow has ended
}

/// Counts a task that begins. Once in [`UNUSED`] tasks, this closes the handles that the last [`UNUSED`]
/// tasks did not use, and those whose path no longer leads to the segment.
#[inline]
pub(crate) fn next_task() {
    let closed = OPEN.with_borrow_mut(|open| {
        let open = open.as_mut()?;
        open.task += 1;
        if open.handles.is_empty() || open.task % UNUSED != 0 {
            return None;
        }
        let since = open.task - UNUSED;
        let is_useless = |handle: &mut OpenHandle| handle.used < since || !handle.is_current();
        Some(open.handles.extract_if(.., is_useless).collect::<Vec<_>>())
    });
    drop(closed); // after the borrow has ended
}

/// Returns the reason why the last handle could not be written or read, and forgets it.
pub(crate) fn take_reason() -> Option<String> {
    REASON.take()
}

fn open<H: Handle>(handle_ref: &HandleRef) -> Result<H> {
    let path = os::path_from_bytes(handle_ref.path.clone());
    let kind = TypeId::of::<H>();
    let known = OPEN.with_borrow_mut(|open| {
        let open = open.as_mut()?;
        let is_same = |handle: &OpenHandle| {
            handle.kind == kind && handle.path == path && handle.schema == handle_ref.schema
        };
        let at = open.handles.iter().position(is_same)?;
        if !open.handles[at].is_current() {
            return Some(Err(open.handles.swap_remove(at)));
        }
        open.handles[at].used = open.task;
        open.handles[at].handle.downcast_ref::<H>().cloned().map(Ok)
    });
    if let Some(Ok(handle)) = known {
        return Ok(handle);
    }
    drop(known); // an outdated handle, after the borrow has ended
    let handle = H::open(place_of(&path, handle_ref.schema.as_deref()))?;
    if OPEN.with_borrow(Option::is_some) {
        let label = handle.name().unwrap_or_default();
        let status = FileStatus::of(&File::from(handle.fd()?));
        let status = status.map_err(|error| Error::from_os(label, "look at it", error))?;
        let kept = OpenHandle {
            kind,
            path,
            schema: handle_ref.schema.clone(),
            id: status.id,
            handle: Box::new(handle.clone()),
            used: 0,
        };
        OPEN.with_borrow_mut(|open| {
            if let Some(open) = open {
                let used = open.task;
                open.handles.push(OpenHandle { used, ..kept });
            }
        });
    }
    Ok(handle)
}

/// Remembers the reason for [`take_reason`], and returns it.
fn with_reason(why: String) -> String {
    REASON.set(Some(why.clone()));
    why
}

fn write<H: Handle, S: Serializer>(handle: &H, serializer: S) -> Result<S::Ok, S::Error> {
    match refer_to(handle) {
        Ok(handle_ref) => (handle_ref.path, handle_ref.schema).serialize(serializer),
        Err(why) => Err(serde::ser::Error::custom(with_reason(why))),
    }
}

fn read<'de, H: Handle, D: Deserializer<'de>>(deserializer: D) -> Result<H, D::Error> {
    let (path, schema) = Deserialize::deserialize(deserializer)?;
    open(&HandleRef { path, schema })
        .map_err(|error| serde::de::Error::custom(with_reason(error.to_string())))
}

macro_rules! handle {
    ([$($parameter:tt)*] $type:ty, $tag:expr) => {
        impl<$($parameter)*> Handle for $type {
            fn name(&self) -> Option<&str> {
                self.name()
            }

            fn fd(&self) -> Result<OwnedFd> {
                self.try_clone_fd()
            }

            fn open(place: Place) -> Result<Self> {
                Self::open(place)
            }

            fn tag() -> Tag {
                $tag
            }
        }

        /// Writes the handle as the path of its segment's file. A handle whose `name()` is `None` can't be
        /// written.
        impl<$($parameter)*> Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                write(self, serializer)
            }
        }

        /// Opens the segment at the path that was written. A worker of a [`Pool`](crate::Pool) keeps the
        /// handle open for later tasks.
        impl<'de, $($parameter)*> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                read(deserializer)
            }
        }
    };
}

handle!([T: Element] Value<T>, Tag::of_type::<T>());
handle!([T: Element] Array<T>, Tag::of_type::<T>());
handle!([T: Element] Queue<T>, Tag::of_type::<T>());
handle!([] ByteQueue, Tag::of_text("bytes"));
handle!([T: 'static] MessageQueue<T>, Tag::of_type::<T>());
