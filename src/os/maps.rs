//! The mappings of this process, as /proc/self/maps lists them.

use super::file::FileId;
use std::io;
use std::ops::Range;

/// One mapping.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The addresses.
    pub(crate) range: Range<usize>,
    /// The mapped file; `None` for memory without one.
    pub(crate) file: Option<FileId>,
    /// Whether this is code that nobody writes: executable, private, not writable.
    pub(crate) is_code: bool,
}

/// Returns all mappings of this process. Needs /proc.
pub(crate) fn mappings() -> io::Result<Vec<Mapping>> {
    // The path at the end of a line need not be UTF-8.
    let maps = std::fs::read("/proc/self/maps")?;
    let maps = String::from_utf8_lossy(&maps);
    Ok(maps.lines().filter_map(parse).collect())
}

/// Returns the file that is mapped at an address, which is part of a file's mapping.
#[cfg(feature = "shared_memory")]
pub(crate) fn mapped_file(at: std::ptr::NonNull<u8>) -> io::Result<FileId> {
    let address = at.addr().get();
    mappings()?
        .into_iter()
        .find(|mapping| mapping.range.contains(&address))
        .and_then(|mapping| mapping.file)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Parses one line: `start-end rights offset major:minor inode path`.
fn parse(line: &str) -> Option<Mapping> {
    let hex = |text| usize::from_str_radix(text, 16).ok();
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_code = matches!(words.next()?.as_bytes(), [_, b'-', b'x', b'p', ..]);
    let (major, minor) = words.nth(1)?.split_once(':')?; // behind the offset
    let number = |text| u32::from_str_radix(text, 16).ok();
    let device = libc::makedev(number(major)?, number(minor)?);
    let inode = words.next()?.parse().ok()?;
    Some(Mapping {
        range: hex(start)?..hex(end)?,
        file: (inode != 0).then_some(FileId { device, inode }),
        is_code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parsed() {
        let file = Some(FileId {
            device: libc::makedev(8, 1),
            inode: 5,
        });
        for (line, is_code, file) in [
            ("10-20 r-xp 00000000 08:01 5 /a", true, file),
            ("10-20 rw-p 00000000 08:01 5 /a", false, file),
            ("10-20 rwxp 00000000 08:01 5 /a", false, file),
            ("10-20 r-xs 00000000 08:01 5 /a", false, file),
            ("10-20 r-xp 00000000 00:00 0 ", true, None),
            ("10-20 r-xp 00000000 00:00 0", true, None),
        ] {
            let range = 16..32;
            let expected = Mapping {
                range,
                file,
                is_code,
            };
            assert_eq!(parse(line), Some(expected), "{line}");
        }
        assert_eq!(parse("10-20 r-xp"), None);
        assert_eq!(parse(""), None);
    }
}
