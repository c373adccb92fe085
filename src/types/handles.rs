//! Handles as values that serde can write and read: by the path of the segment's file.
//!
//! A worker of a pool keeps what it has opened that handle_ref, so that the next task with the same handle
//! does not open it again. It keeps no segment alive for long: what a worker keeps is closed when it
//! becomes idle, when it has not been asked for in [`UNUSED`] tasks, and when the name no longer leads
//! there.

use crate::error::{Error, Result};
use crate::segment::Tag;
use crate::segment::read_header;
use crate::segment::{Place, SHM_DIR};
use crate::types::array::Array;
use crate::types::byte_queue::ByteQueue;
use crate::types::element::Element;
use crate::types::message_queue::MessageQueue;
use crate::types::queue::Queue;
use crate::types::value::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many tasks may go by before a worker closes a handle that none of them had.
const UNUSED: u64 = 64;

/// How a handle is written.
struct HandleRef {
    path: Vec<u8>,
    /// The creator's, if the segment has one.
    schema: Option<String>,
}

/// What has handles.
trait Handle: Clone + 'static {
    fn name(&self) -> Option<&str>;
    fn fd(&self) -> Result<OwnedFd>;
    fn open(place: Place) -> Result<Self>;
    /// What the segment's header says unless it has a schema.
    fn tag() -> Tag;
}

/// Which file something is.
fn id(data: &Metadata) -> (u64, u64) {
    (data.dev(), data.ino())
}

fn refer_to<H: Handle>(handle: &H) -> Result<HandleRef, String> {
    let Some(name) = handle.name() else {
        return Err("a handle without a name can't be sent: it has none to be opened by".into());
    };
    let file = File::from(handle.fd().map_err(|error| error.to_string())?);
    let here = file
        .metadata()
        .map_err(|error| format!("{name}: {error}"))?;
    let is_it =
        |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|there| id(&there) == id(&here));
    // A name without a slash may be that of a file in this process's folder, too.
    let named = (!name.contains('/')).then(|| Path::new(SHM_DIR).join(name));
    let path = named
        .filter(|path| is_it(path))
        .or_else(|| std::path::absolute(name).ok().filter(|path| is_it(path)))
        .ok_or_else(|| format!("{name}: the name no longer leads to the segment"))?;
    let tag = read_header(&file, name)
        .map_err(|error| error.to_string())?
        .tag();
    Ok(HandleRef {
        path: path.into_os_string().into_vec(),
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
    id: (u64, u64),
    handle: Box<dyn Any>,
    /// The last task that had it.
    used: u64,
}

impl OpenHandle {
    fn is_current(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|there| id(&there) == self.id)
    }
}

#[derive(Default)]
struct OpenHandles {
    kept: Vec<OpenHandle>,
    /// Counts tasks.
    task: u64,
}

thread_local! {
    /// A worker's, in its main thread.
    static OPEN: RefCell<Option<OpenHandles>> = const { RefCell::new(None) };
    /// Why the last handle could not be written or read, which postcard does not pass on.
    static REASON: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From here on this thread keeps open what it reads.
pub(crate) fn keep_open() {
    OPEN.set(Some(OpenHandles::default()));
}

/// Closes what is kept.
pub(crate) fn let_go() {
    let kept = OPEN
        .with_borrow_mut(|open_handles| open_handles.as_mut().map(|s| std::mem::take(&mut s.kept)));
    drop(kept); // not under the borrow
}

/// Another task begins.
#[inline]
pub(crate) fn next_task() {
    let stale = OPEN.with_borrow_mut(|open_handles| {
        let open_handles = open_handles.as_mut()?;
        open_handles.task += 1;
        if open_handles.kept.is_empty() || open_handles.task % UNUSED != 0 {
            return None;
        }
        let since = open_handles.task - UNUSED;
        let is_stale = |kept: &mut OpenHandle| kept.used < since || !kept.is_current();
        Some(
            open_handles
                .kept
                .extract_if(.., is_stale)
                .collect::<Vec<_>>(),
        )
    });
    drop(stale);
}

/// Why the last handle could not be written or read, once.
pub(crate) fn take_reason() -> Option<String> {
    REASON.take()
}

fn open<H: Handle>(handle_ref: &HandleRef) -> Result<H> {
    let path = PathBuf::from(OsString::from_vec(handle_ref.path.clone()));
    let kind = TypeId::of::<H>();
    let known = OPEN.with_borrow_mut(|open_handles| {
        let open_handles = open_handles.as_mut()?;
        let is_it = |kept: &OpenHandle| {
            kept.kind == kind && kept.path == path && kept.schema == handle_ref.schema
        };
        let at = open_handles.kept.iter().position(is_it)?;
        if !open_handles.kept[at].is_current() {
            return Some(Err(open_handles.kept.swap_remove(at)));
        }
        open_handles.kept[at].used = open_handles.task;
        open_handles.kept[at]
            .handle
            .downcast_ref::<H>()
            .cloned()
            .map(Ok)
    });
    if let Some(Ok(handle)) = known {
        return Ok(handle);
    }
    drop(known);
    let handle = H::open(place_of(&path, handle_ref.schema.as_deref()))?;
    if OPEN.with_borrow(Option::is_some) {
        let label = handle.name().unwrap_or_default();
        let data = File::from(handle.fd()?).metadata();
        let data = data.map_err(|error| Error::from_os(label, "look at it", error))?;
        let kept = OpenHandle {
            kind,
            path,
            schema: handle_ref.schema.clone(),
            id: id(&data),
            handle: Box::new(handle.clone()),
            used: 0,
        };
        OPEN.with_borrow_mut(|open_handles| {
            if let Some(open_handles) = open_handles {
                let used = open_handles.task;
                open_handles.kept.push(OpenHandle { used, ..kept });
            }
        });
    }
    Ok(handle)
}

fn note_reason(why: String) -> String {
    REASON.set(Some(why.clone()));
    why
}

fn write<H: Handle, S: Serializer>(handle: &H, serializer: S) -> Result<S::Ok, S::Error> {
    match refer_to(handle) {
        Ok(handle_ref) => (handle_ref.path, handle_ref.schema).serialize(serializer),
        Err(why) => Err(serde::ser::Error::custom(note_reason(why))),
    }
}

fn read<'de, H: Handle, D: Deserializer<'de>>(deserializer: D) -> Result<H, D::Error> {
    let (path, schema) = Deserialize::deserialize(deserializer)?;
    let handle_ref = HandleRef { path, schema };
    open(&handle_ref).map_err(|error| serde::de::Error::custom(note_reason(error.to_string())))
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

        /// By name, or by path; one that has neither can't be written.
        impl<$($parameter)*> Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                write(self, serializer)
            }
        }

        /// Opens it. In a worker of a [`Pool`](crate::Pool) it is kept open for later tasks.
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
