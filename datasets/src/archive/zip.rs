//! Zip archives: the list of members and their contents, stored or deflated.
//!
//! # Source
//! PKWARE, ".ZIP File Format Specification" (APPNOTE 6.3), with the 64-bit extension.

use std::io::Read;

use flate2::read::DeflateDecoder;

/// What is wrong with an archive.
pub(crate) type Problem = String;

const END: &[u8] = b"PK\x05\x06";
const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
/// Length of the end record without its comment.
const END_LENGTH: usize = 22;
/// A size of this value stands in the 64-bit extension.
const IN_EXTENSION: u64 = 0xffff_ffff;

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) size: u64,
    packed: u64,
    method: u16,
    crc: u32,
    offset: u64,
}

/// The members of an archive, in its own order; folders are left out.
pub(crate) fn members(bytes: &[u8]) -> Result<Vec<Member>, Problem> {
    let cut = || "its list of members is missing: the archive is truncated or no zip".to_owned();
    let lowest = bytes.len().saturating_sub(END_LENGTH + 0xffff);
    let end = (lowest..=bytes.len().saturating_sub(END_LENGTH))
        .rev()
        .find(|&at| bytes[at..].starts_with(END) && bytes.len() - at >= END_LENGTH)
        .ok_or_else(cut)?;
    let count = u64::from(u16_at(bytes, end + 10).ok_or_else(cut)?);
    let mut at = u32_at(bytes, end + 16).ok_or_else(cut)? as usize;
    let mut members = Vec::new();
    for _ in 0..count {
        let (member, next) = central(bytes, at).ok_or_else(cut)?;
        if !member.name.ends_with('/') {
            members.push(member);
        }
        at = next;
    }
    Ok(members)
}

/// One entry of the list, and where the next begins.
fn central(bytes: &[u8], at: usize) -> Option<(Member, usize)> {
    let entry = bytes.get(at..)?.strip_prefix(CENTRAL).map(|_| at)?;
    let lengths = [28, 30, 32].map(|field| u16_at(bytes, entry + field));
    let [name, extra, comment] = lengths.map(|length| length.map(usize::from));
    let (name, extra, comment) = (name?, extra?, comment?);
    let name_at = entry + 46;
    let extra_at = name_at + name;
    let mut member = Member {
        name: String::from_utf8_lossy(bytes.get(name_at..extra_at)?).into_owned(),
        size: u64::from(u32_at(bytes, entry + 24)?),
        packed: u64::from(u32_at(bytes, entry + 20)?),
        method: u16_at(bytes, entry + 10)?,
        crc: u32_at(bytes, entry + 16)?,
        offset: u64::from(u32_at(bytes, entry + 42)?),
    };
    widen(&mut member, bytes.get(extra_at..extra_at + extra)?);
    Some((member, extra_at + extra + comment))
}

/// Takes the sizes that do not fit into 32 bits from the 64-bit extension.
fn widen(member: &mut Member, mut extra: &[u8]) {
    while let (Some(id), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(body) = extra.get(4..4 + usize::from(length)) else {
            return;
        };
        if id == 1 {
            let mut wide = body.chunks_exact(8).map(|chunk| {
                chunk
                    .iter()
                    .rev()
                    .fold(0, |all, byte| all << 8 | u64::from(*byte))
            });
            for field in [&mut member.size, &mut member.packed, &mut member.offset] {
                if *field == IN_EXTENSION {
                    *field = wide.next().unwrap_or(*field);
                }
            }
        }
        extra = &extra[4 + usize::from(length)..];
    }
}

impl Member {
    /// The member's content, checked against its size and checksum.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Vec<u8>, Problem> {
        let cut = || format!("member `{}` lies outside of the archive", self.name);
        let at = usize::try_from(self.offset).map_err(|_| cut())?;
        let header = bytes
            .get(at..)
            .filter(|rest| rest.starts_with(LOCAL))
            .ok_or_else(cut)?;
        let skip = [26, 28].map(|field| u16_at(header, field).map(usize::from));
        let start = 30 + skip[0].ok_or_else(cut)? + skip[1].ok_or_else(cut)?;
        let packed = usize::try_from(self.packed).map_err(|_| cut())?;
        let end = start.checked_add(packed).ok_or_else(cut)?;
        let body = header.get(start..end).ok_or_else(cut)?;
        let mut content = Vec::new();
        match self.method {
            0 => content.extend_from_slice(body),
            8 => {
                // One byte more than stated is enough to tell that the statement is wrong.
                let mut stream = DeflateDecoder::new(body).take(self.size.saturating_add(1));
                stream
                    .read_to_end(&mut content)
                    .map_err(|error| format!("member `{}` is damaged: {error}", self.name))?;
            }
            other => {
                return Err(format!(
                    "member `{}` is packed by method {other}: pack it by deflate, or not at all",
                    self.name
                ));
            }
        }
        if content.len() as u64 != self.size {
            return Err(format!(
                "member `{}` is not of its stated size of {} bytes",
                self.name, self.size
            ));
        }
        let mut crc = flate2::Crc::new();
        crc.update(&content);
        if crc.sum() != self.crc {
            return Err(format!(
                "member `{}` does not match its checksum",
                self.name
            ));
        }
        Ok(content)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*two))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use proptest::prelude::*;

    use super::*;

    /// An archive as other programs write it.
    pub(crate) fn archive(files: &[(&str, &[u8])], is_deflated: bool) -> Vec<u8> {
        let (mut all, mut list) = (Vec::new(), Vec::new());
        for (name, content) in files {
            let body = if is_deflated {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            } else {
                content.to_vec()
            };
            let mut crc = flate2::Crc::new();
            crc.update(content);
            let mut fields = Vec::new();
            fields.extend([20, 0, 0, 0, if is_deflated { 8 } else { 0 }, 0, 0, 0, 0, 0]);
            fields.extend(crc.sum().to_le_bytes());
            fields.extend((body.len() as u32).to_le_bytes());
            fields.extend((content.len() as u32).to_le_bytes());
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend([0, 0]);
            let offset = all.len() as u32;
            all.extend([LOCAL, &fields, name.as_bytes(), &body].concat());
            list.extend([CENTRAL, &[20, 0], &fields, &[0; 10]].concat());
            list.extend(offset.to_le_bytes());
            list.extend(name.as_bytes());
        }
        let at = all.len() as u32;
        let count = (files.len() as u16).to_le_bytes();
        let size = (list.len() as u32).to_le_bytes();
        all.extend(list);
        all.extend(
            [
                END,
                &[0; 4],
                &count,
                &count,
                &size,
                &at.to_le_bytes(),
                &[0; 2],
            ]
            .concat(),
        );
        all
    }

    #[test]
    fn members_are_listed_and_read() {
        for is_deflated in [false, true] {
            let bytes = archive(
                &[("a/", b""), ("a/b.txt", b"hello hello"), ("c", b"")],
                is_deflated,
            );
            let members = members(&bytes).unwrap();
            let names: Vec<&str> = members.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(names, ["a/b.txt", "c"]);
            assert_eq!(members[0].read(&bytes).unwrap(), b"hello hello");
            assert_eq!(members[1].read(&bytes).unwrap(), b"");
        }
    }

    #[test]
    fn damage_is_told() {
        let bytes = archive(&[("a", b"hello hello")], false);
        assert!(
            members(&bytes[..bytes.len() - 3])
                .unwrap_err()
                .contains("truncated")
        );
        assert!(members(b"").is_err());
        let member = members(&bytes).unwrap().remove(0);
        let mut flipped = bytes.clone();
        flipped[32] ^= 1;
        assert!(member.read(&flipped).unwrap_err().contains("checksum"));
        assert!(member.read(&bytes[..20]).unwrap_err().contains("outside"));
        let smaller = Member {
            size: 5,
            ..member.clone()
        };
        assert!(smaller.read(&bytes).unwrap_err().contains("stated size"));
        let odd = Member {
            method: 12,
            ..member
        };
        assert!(odd.read(&bytes).unwrap_err().contains("method 12"));
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..200, to in any::<u8>(), keep in 0usize..200) {
            let mut bytes = archive(&[("a", b"hello hello"), ("b", b"x")], true);
            let length = bytes.len();
            bytes[at % length] = to;
            bytes.truncate(keep.max(1));
            for member in members(&bytes).unwrap_or_default() {
                let _ = member.read(&bytes);
            }
        }
    }
}
