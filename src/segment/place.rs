//! [`Place`]: where a segment lives, and the options with which it is created.

use crate::error::{Error, Result};
use crate::os::{self, AsRawFd, OwnedFd};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The folder of named segments, in which every C library's `shm_open` looks.
pub(crate) const SHM_DIR: &str = "/dev/shm";

/// The end of the hidden names of segments that are being created.
pub(crate) const HIDDEN: &str = ".shmkit~";

/// Why no name of a user's may end like that.
const IS_HIDDEN: &str = "a name does not end in .shmkit~, as those of unfinished segments do";

/// The longest name in bytes.
const MAX_NAME: usize = 200;

/// The longest schema in bytes: the size of the header's type tag.
const MAX_SCHEMA: usize = 64;

/// Where a segment lives, and its options.
///
/// Constructors of segments take `impl Into<Place>`; a `&str` or a `String` means
/// [`Place::named`].
///
/// ```
/// use shmkit::{Place, Value};
///
/// # fn main() -> shmkit::Result<()> {
/// # let name = format!("doc-place-{}", std::process::id());
/// let by_name = Value::create(name.as_str(), 1u64)?;
/// let same = Value::<u64>::open(Place::named(&name))?;
/// by_name.set(2);
/// assert_eq!(same.get(), 2);
/// # Ok(())
/// # }
/// ```
///
/// [`mode`](Self::mode) and [`persistent`](Self::persistent) are for the creator; an opener takes the
/// segment as it is. [`open_timeout`](Self::open_timeout) is for the opener. [`schema`](Self::schema) is for
/// both, and both must say the same.
#[derive(Clone, Debug)]
pub struct Place {
    site: Site,
    mode: u32,
    persistent: Option<bool>,
    schema: Option<String>,
    open_timeout: Duration,
}

/// Where a segment lives, without the options.
#[derive(Clone, Debug)]
enum Site {
    Named(String),
    File(PathBuf),
    Anonymous,
    Fd(Arc<OwnedFd>),
}

/// A site whose name has been checked.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// An absolute path, whether or not something is there.
    Path(PathBuf),
    /// A new file in memory.
    Anonymous,
    /// A descriptor that somebody passed to us.
    Fd(&'a OwnedFd),
}

/// A place that has been looked at once: its name and schema are checked, its path is absolute.
#[derive(Debug)]
pub(crate) struct ResolvedPlace<'a> {
    /// The place's name in errors.
    pub(crate) label: String,
    pub(crate) target: Target<'a>,
    /// The creator's schema, or the opener's expectation.
    pub(crate) schema: Option<&'a str>,
    /// The permission bits of a new segment.
    pub(crate) mode: u32,
    /// Whether the name of a new segment outlives its holders.
    pub(crate) persistent: bool,
    /// How long an opener waits for a segment.
    pub(crate) open_timeout: Duration,
}

impl Place {
    fn at(site: Site) -> Self {
        Self {
            site,
            mode: 0o600,
            persistent: None,
            schema: None,
            open_timeout: Duration::ZERO,
        }
    }

    /// Returns the place called `name`: a file in /dev/shm, so that `shm_open("/name")` in any language
    /// finds the segment.
    ///
    /// A name is 1 to 200 bytes, without `/` or NUL, does not begin with `.`, and does not end in `.shmkit~`;
    /// any other name is [`Error::InvalidName`] when the place is used.
    ///
    /// ```
    /// use shmkit::{Error, Place, Value};
    ///
    /// assert_eq!(Place::named("jobs").to_string(), "jobs");
    /// let refused = Value::create(Place::named("a/b"), 0u8);
    /// assert!(matches!(refused, Err(Error::InvalidName { .. })));
    /// ```
    pub fn named(name: impl Into<String>) -> Self {
        Self::at(Site::Named(name.into()))
    }

    /// Returns the place of the file at `path`, on any local filesystem. Such a segment is
    /// [persistent](Self::persistent) unless told otherwise. A relative path counts from the working
    /// folder at the moment at which the place is used.
    ///
    /// ```
    /// use shmkit::{Place, Value};
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// # let folder = std::env::temp_dir();
    /// # let path = folder.join(format!("doc-place-file-{}", std::process::id()));
    /// let place = Place::file(&path);
    /// Value::create(&place, 7u32)?; // nobody holds the segment from here on, but it stays
    /// assert_eq!(Value::<u32>::open(&place)?.get(), 7);
    /// shmkit::unlink(&place)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Site::File(path.into()))
    }

    /// Returns the place of a new segment without a name: for forked children, or to be passed on by its
    /// descriptor ([`try_clone_fd`](crate::Value::try_clone_fd)). Its size is sealed: no peer can shrink it
    /// under us.
    ///
    /// ```
    /// use shmkit::{Array, Place};
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let scratch = Array::<f64>::zeroed(Place::anonymous(), 1000)?;
    /// assert_eq!(scratch.name(), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn anonymous() -> Self {
        Self::at(Site::Anonymous)
    }

    /// Returns the place of an existing segment that came as a file descriptor. Opening the place opens
    /// the file afresh, so that the hold belongs to this process alone. That needs /proc, and permission on
    /// the file itself.
    ///
    /// ```
    /// use shmkit::{Place, Queue};
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// let queue = Queue::<u8>::new(4)?;
    /// let fd = queue.try_clone_fd()?; // sent to another process through a socket, say
    /// let same = Queue::<u8>::open(Place::fd(fd))?;
    /// queue.put(1)?;
    /// assert_eq!(same.get()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fd(fd: impl Into<OwnedFd>) -> Self {
        Self::at(Site::Fd(Arc::new(fd.into())))
    }

    /// Sets the permission bits of a new segment: give even the bit for reading only to users whom you trust
    /// not to stall you. Whoever may read the file can lock bytes of it, and so keep others from opening, creating
    /// and removing the segment ([`Error::Stalled`]); holders who have it open go on.
    ///
    /// The bits are set exactly, whatever the umask. The default is `0o600`: only this user's processes. To
    /// open a segment, a user must be able to read *and* write it, so bits for reading alone are of use only to
    /// [`inspect`](crate::inspect). Bits outside `0o777` are cleared.
    ///
    /// ```
    /// use shmkit::{Place, Value};
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-place-mode-{}", std::process::id());
    /// let value = Value::create(Place::named(&name).mode(0o660), 0u8)?;
    /// let file = std::fs::metadata(format!("/dev/shm/{name}"))?;
    /// assert_eq!(file.permissions().mode() & 0o777, 0o660);
    /// # drop(value);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Sets whether the name of a new segment outlives its last holder. By default it does not, except for
    /// [`Place::file`].
    ///
    /// ```
    /// use shmkit::{Place, Value};
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// # let name = format!("doc-place-persistent-{}", std::process::id());
    /// drop(Value::create(Place::named(&name).persistent(true), 1u8)?);
    /// assert_eq!(Value::<u8>::open(&name)?.get(), 1);
    /// shmkit::unlink(&name)?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = Some(persistent);
        self
    }

    /// Replaces the element type's name in the header by a text of your own, for types whose
    /// versions you count yourself. The sizes and alignments of elements are compared all the same.
    ///
    /// A schema is recommended for every struct of your own that more than one program uses: without a schema,
    /// a struct with other fields, but of the same name, size and alignment, is opened without an error.
    ///
    /// A schema is 1 to 64 bytes without NUL; any other is [`Error::InvalidName`] when the place is used.
    ///
    /// ```
    /// use shmkit::{Error, Place, Value};
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// # let name = format!("doc-place-schema-{}", std::process::id());
    /// let value = Value::create(Place::named(&name).schema("position/v2"), [0f32; 2])?;
    /// let old = Value::<[f32; 2]>::open(Place::named(&name).schema("position/v1"));
    /// assert!(matches!(old, Err(Error::Mismatch { what: "type", .. })));
    /// # drop(value);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// Sets how long the `open` of each type waits for somebody to create the segment. By default it does
    /// not wait: there is a segment, or [`Error::NotFound`] at once. An `open_or_create` never waits.
    ///
    /// Nobody announces a new name, so the opener looks again and again: at first after 50 microseconds, then
    /// at growing intervals of up to 10 milliseconds. So it opens the segment at most about 10 ms after its
    /// creation, and meanwhile takes less than 1 % of a CPU. It misses a segment that is created and removed
    /// between two looks, and goes on waiting. Only absence is waited out: every other error is returned at
    /// once.
    ///
    /// ```
    /// use shmkit::{Error, Place, Queue};
    /// use std::time::Duration;
    ///
    /// # fn main() -> shmkit::Result<()> {
    /// # let name = format!("doc-place-open-timeout-{}", std::process::id());
    /// let place = Place::named(&name).open_timeout(Duration::from_secs(5));
    /// let opener = std::thread::spawn(|| Queue::<u64>::open(place)); // may come first
    /// let created = Queue::<u64>::create(&name, 8)?; // usually in another program
    /// let opened = opener.join().expect("the opener does not panic")?;
    /// created.put(7)?;
    /// assert_eq!(opened.get()?, 7);
    ///
    /// let never = Place::named("doc-nobody").open_timeout(Duration::from_millis(1));
    /// assert!(matches!(Queue::<u64>::open(never), Err(Error::NotFound { .. })));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = timeout;
        self
    }

    /// Returns the place's name in errors.
    pub(crate) fn label(&self) -> String {
        self.to_string()
    }

    /// Checks the name and the schema, and makes the path absolute.
    pub(crate) fn resolve(&self) -> Result<ResolvedPlace<'_>> {
        Ok(ResolvedPlace {
            label: self.label(),
            schema: self.checked_schema()?,
            target: self.target()?,
            mode: self.mode,
            persistent: self
                .persistent
                .unwrap_or(matches!(self.site, Site::File(_))),
            open_timeout: self.open_timeout,
        })
    }

    fn checked_schema(&self) -> Result<Option<&str>> {
        let Some(schema) = &self.schema else {
            return Ok(None);
        };
        let reason = match schema.as_bytes() {
            [] => "a schema has at least 1 byte",
            long if long.len() > MAX_SCHEMA => "a schema has at most 64 bytes",
            bytes if bytes.contains(&0) => "a schema has no NUL",
            _ => return Ok(Some(schema)),
        };
        Err(Error::InvalidName {
            place: schema.clone(),
            reason,
        })
    }

    /// Checks the name, and makes the path absolute.
    pub(crate) fn target(&self) -> Result<Target<'_>> {
        Ok(match &self.site {
            Site::Named(name) => Target::Path(shm_path(name)?),
            Site::File(path) => Target::Path(absolute(path, &self.label())?),
            Site::Anonymous => Target::Anonymous,
            Site::Fd(fd) => Target::Fd(fd),
        })
    }
}

fn shm_path(name: &str) -> Result<PathBuf> {
    let reason = match name.as_bytes() {
        [] => "a name has at least 1 byte",
        long if long.len() > MAX_NAME => "a name has at most 200 bytes",
        [b'.', ..] => "a name does not begin with a dot",
        bytes if bytes.contains(&b'/') => "a name has no slash",
        bytes if bytes.contains(&0) => "a name has no NUL",
        bytes if bytes.ends_with(HIDDEN.as_bytes()) => IS_HIDDEN,
        _ => return Ok(Path::new(SHM_DIR).join(name)),
    };
    Err(Error::InvalidName {
        place: name.to_owned(),
        reason,
    })
}

/// Checks a path and makes it absolute: the working folder may be another one by the time the last holder
/// leaves.
fn absolute(path: &Path, label: &str) -> Result<PathBuf> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let reason = if path.file_name().is_none() {
        "a path ends in a file's name"
    } else if bytes.ends_with(HIDDEN.as_bytes()) {
        IS_HIDDEN
    } else if bytes.contains(&0) {
        "a path has no NUL"
    } else {
        return os::absolute(path)
            .map_err(|error| Error::from_os(label, "look up the working folder", error));
    };
    Err(Error::InvalidName {
        place: label.to_owned(),
        reason,
    })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Site::Named(name) => f.write_str(name),
            Site::File(path) => write!(f, "{}", path.display()),
            Site::Anonymous => f.write_str("(anonymous)"),
            Site::Fd(fd) => write!(f, "(fd {})", fd.as_raw_fd()),
        }
    }
}

impl From<&str> for Place {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl From<String> for Place {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}

impl From<&String> for Place {
    fn from(name: &String) -> Self {
        Self::named(name)
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}
