//! Tar archives, read as a stream: plain files with their names; links and devices are passed over.
//!
//! # Source
//! POSIX.1-1988 "ustar" headers, with GNU long names and POSIX.1-2001 path records.

use std::io::Read;

const BLOCK: usize = 512;
/// Longer names are refused.
const MAX_NAME: u64 = 4096;

/// What is wrong with an archive.
pub(crate) type Problem = String;

/// Calls `take` with the name, the size and the content of each plain file.
pub(crate) fn each(
    mut stream: impl Read,
    mut take: impl FnMut(&str, u64, &mut dyn Read) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut long_name: Option<String> = None;
    let mut seen = false;
    loop {
        let mut header = [0u8; BLOCK];
        let read = fill(&mut stream, &mut header)?;
        if read == 0 || header.iter().all(|byte| *byte == 0) {
            return if seen {
                Ok(())
            } else {
                Err("it holds no file: not a tar archive".to_owned())
            };
        }
        if read < BLOCK {
            return Err("it ends inside a header: the archive is truncated".to_owned());
        }
        check_sum(&header)?;
        seen = true;
        let size = octal(&header[124..136]).ok_or("a file's size cannot be read")?;
        let kind = header[156];
        match kind {
            b'L' | b'x' => {
                let text = content(&mut stream, size)?;
                long_name = if kind == b'L' {
                    Some(terminated(&text))
                } else {
                    path_record(&text)
                };
            }
            b'0' | 0 => {
                let name = long_name.take().unwrap_or_else(|| name(&header));
                let mut body = (&mut stream).take(size);
                take(&name, size, &mut body)?;
                let rest = body.limit();
                skip(&mut stream, rest + padding(size))?;
            }
            _ => {
                long_name = None;
                skip(&mut stream, size + padding(size))?;
            }
        }
    }
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Problem> {
    let mut read = 0;
    while read < buffer.len() {
        match stream.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) => return Err(format!("it cannot be unpacked: {error}")),
        }
    }
    Ok(read)
}

fn skip(stream: &mut impl Read, count: u64) -> Result<(), Problem> {
    let skipped = std::io::copy(&mut stream.take(count), &mut std::io::sink())
        .map_err(|error| format!("it cannot be unpacked: {error}"))?;
    if skipped < count {
        return Err("it ends inside a file: the archive is truncated".to_owned());
    }
    Ok(())
}

fn content(stream: &mut impl Read, size: u64) -> Result<Vec<u8>, Problem> {
    if size > MAX_NAME {
        return Err(format!("a name of {size} bytes is too long"));
    }
    let mut text = vec![0; size as usize];
    if fill(stream, &mut text)? < text.len() {
        return Err("it ends inside a name: the archive is truncated".to_owned());
    }
    skip(stream, padding(size))?;
    Ok(text)
}

fn check_sum(header: &[u8; BLOCK]) -> Result<(), Problem> {
    let stated =
        octal(&header[148..156]).ok_or("a header's checksum cannot be read: not a tar archive")?;
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u64::from(*byte)
            }
        })
        .sum();
    if sum == stated {
        Ok(())
    } else {
        Err("a header does not match its checksum: the archive is damaged".to_owned())
    }
}

/// An octal number, or GNU's big-endian one of sizes above 8 GB.
fn octal(field: &[u8]) -> Option<u64> {
    if field.first() == Some(&0x80) {
        return Some(
            field[field.len() - 8..]
                .iter()
                .fold(0, |all, byte| all << 8 | u64::from(*byte)),
        )
        .filter(|size| *size < 1 << 48);
    }
    let text = terminated(field);
    u64::from_str_radix(text.trim(), 8).ok()
}

fn terminated(field: &[u8]) -> String {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn name(header: &[u8; BLOCK]) -> String {
    let (name, prefix) = (terminated(&header[..100]), terminated(&header[345..500]));
    let is_ustar = header[257..].starts_with(b"ustar\0");
    if is_ustar && !prefix.is_empty() {
        format!("{prefix}/{name}")
    } else {
        name
    }
}

/// The path of records `27 path=folder/name\n`.
fn path_record(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let record = text
        .lines()
        .find_map(|line| line.split_once(' ')?.1.strip_prefix("path="));
    record.map(str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header and the padded content, as `tar` writes them.
    pub(crate) fn member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut header = [0u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = kind;
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn list(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Problem> {
        let mut files = Vec::new();
        each(bytes, |name, size, body| {
            let mut content = Vec::new();
            body.take(size)
                .read_to_end(&mut content)
                .map_err(|error| error.to_string())?;
            files.push((name.to_owned(), content));
            Ok(())
        })?;
        Ok(files)
    }

    #[test]
    fn files_are_read_and_links_passed_over() {
        let long = "d/".repeat(60) + "x.txt";
        let bytes = [
            member("set-a/", b'5', b""),
            member("set-a/1.txt", b'0', b"one"),
            member("link", b'2', b""),
            member("././@LongLink", b'L', format!("{long}\0").as_bytes()),
            member("cut", b'0', b"two"),
            member("x", b'x', b"18 path=via/pax\n"),
            member("cut", b'0', b""),
            vec![0; 1024],
        ]
        .concat();
        let files = list(&bytes).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.0.as_str()).collect();
        assert_eq!(names, ["set-a/1.txt", &long, "via/pax"]);
        assert_eq!(
            (&files[0].1[..], &files[1].1[..]),
            (&b"one"[..], &b"two"[..])
        );
    }

    #[test]
    fn damage_is_told() {
        let bytes = member("a", b'0', &[7; 700]);
        assert!(list(&bytes[..600]).unwrap_err().contains("truncated"));
        assert!(list(&bytes[..100]).unwrap_err().contains("truncated"));
        let mut flipped = bytes.clone();
        flipped[3] = b'x';
        assert!(list(&flipped).unwrap_err().contains("checksum"));
        assert!(list(b"").unwrap_err().contains("not a tar"));
        let huge = member("n", b'L', &[b'n'; 5000]);
        assert!(list(&huge).unwrap_err().contains("too long"));
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..1536, to in any::<u8>(), keep in 0usize..1537) {
            let mut bytes = [member("a", b'0', b"one"), vec![0; 512]].concat();
            bytes[at] = to;
            bytes.truncate(keep);
            let _ = list(&bytes);
        }
    }
}
