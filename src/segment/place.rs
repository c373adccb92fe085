//! [`Place`]: where a segment lives, and the options it is created with.

use crate::error::{Error, Result};
use crate::os::{self, AsRawFd, OwnedFd};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of named segments: where `shm_open` of every C library looks.
pub(crate) const SHM_DIR: &str = "/dev/shm";

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
/// [`mode`](Self::mode), [`persistent`](Self::persistent) speak to the creator; whoever opens takes
/// the segment as it is. [`schema`](Self::schema) speaks to both, and both must say the same.
#[derive(Clone, Debug)]
pub struct Place {
    site: Site,
    mode: u32,
    persistent: Option<bool>,
    schema: Option<String>,
}

/// Where, without the options.
#[derive(Clone, Debug)]
enum Site {
    Named(String),
    File(PathBuf),
    Anonymous,
    Fd(Arc<OwnedFd>),
}

/// A [`Place`] whose name has been checked.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// An absolute path, whether or not something is there.
    Path(PathBuf),
    /// A new file in memory.
    Anonymous,
    /// A descriptor that somebody gave us.
    Fd(&'a OwnedFd),
}

impl Place {
    fn at(site: Site) -> Self {
        Self {
            site,
            mode: 0o600,
            persistent: None,
            schema: None,
        }
    }

    /// The segment called `name`, a file in /dev/shm, so that `shm_open("/name")` in any language
    /// finds it.
    ///
    /// A name is 1 to 200 bytes, without `/` or NUL, and does not begin with `.`; any other is
    /// [`Error::InvalidName`] where the place is used.
    pub fn named(name: impl Into<String>) -> Self {
        Self::at(Site::Named(name.into()))
    }

    /// The segment in the file at `path`, on any local filesystem. Such a segment is
    /// [persistent](Self::persistent) unless told otherwise. A relative path counts from the working
    /// folder at the moment of each use of the place.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Site::File(path.into()))
    }

    /// A segment without a name: for forked children, or passed on by its descriptor
    /// ([`try_clone_fd`](crate::Value::try_clone_fd)). Its size is sealed: no peer can shrink it
    /// under us.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::at(Site::Anonymous)
    }

    /// An existing segment, received as a file descriptor. It is opened afresh, so that the hold on
    /// it is this process's own; that needs /proc, and permission on the file itself.
    pub fn fd(fd: impl Into<OwnedFd>) -> Self {
        Self::at(Site::Fd(Arc::new(fd.into())))
    }

    /// The permission bits of a new segment, exact, whatever the umask. The default is `0o600`:
    /// this user's processes alone.
    ///
    /// Who may open it must be able to read *and* write it, so bits for reading alone are of use to
    /// [`inspect`](crate::inspect) only. Bits outside `0o777` are cleared.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Whether the name of a new segment outlives its last holder. The default is no, except for
    /// [`Place::file`].
    #[must_use]
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.persistent = Some(persistent);
        self
    }

    /// Replaces the element type's name in the header by a text of your own, for types whose
    /// versions you count yourself. Element size and alignment are compared all the same.
    ///
    /// 1 to 64 bytes without NUL; any other is [`Error::InvalidName`] where the place is used.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// How errors call this place.
    pub(crate) fn label(&self) -> String {
        self.to_string()
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self.site, Site::Anonymous)
    }

    pub(crate) fn mode_bits(&self) -> u32 {
        self.mode
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.persistent
            .unwrap_or(matches!(self.site, Site::File(_)))
    }

    /// The schema, checked.
    pub(crate) fn schema_text(&self) -> Result<Option<&str>> {
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

    /// What the place leads to, its name checked.
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
        _ => return Ok(Path::new(SHM_DIR).join(name)),
    };
    Err(Error::InvalidName {
        place: name.to_owned(),
        reason,
    })
}

/// Checked, and from the root: the working folder may be another by the time the last holder leaves.
fn absolute(path: &Path, label: &str) -> Result<PathBuf> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let reason = if path.file_name().is_none() {
        "a path ends in a file's name"
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
