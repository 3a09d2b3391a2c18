//! Taking out what identifies a person or a single machine.

use crate::runner::{CommandLine, CommandRunner};

const MARK: &str = "(redacted)";

/// Words in a key whose value is nobody's business.
const KEYS: [&str; 11] = [
    "serial",
    "uuid",
    "udid",
    "ecid",
    "imei",
    "hostname",
    "host_name",
    "computer name",
    "user name",
    "mac address",
    "iouserclientcreator",
];

/// Names that would take too much with them, and that identify nobody.
const COMMON: [&str; 6] = ["root", "localhost", "admin", "user", "mac", "runner"];

/// The names to take out of all texts; identifiers are recognised by their form and their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction {
    names: Vec<String>,
}

impl Redaction {
    /// Takes out these names wherever they stand as whole words, besides identifiers.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let mut names: Vec<String> = names
            .iter()
            .map(|name| name.trim().to_owned())
            .filter(|name| name.len() >= 3 && !COMMON.contains(&name.to_lowercase().as_str()))
            .collect();
        // A host name may contain the user's: the longer one first.
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.dedup();
        Self { names }
    }

    /// Asks the machine for the names of its user and of itself.
    pub(super) fn of<R: CommandRunner>(runner: &R) -> Self {
        let ask = |program: &str, arguments: &[&str]| {
            let output = runner.run(&CommandLine::new(program, arguments)).ok()?;
            (output.status == Some(0)).then(|| output.stdout.trim().to_owned())
        };
        let mut names: Vec<String> = [
            ask("/usr/bin/id", &["-un"]),
            ask("/usr/bin/id", &["-F"]),
            ask("/usr/bin/uname", &["-n"]),
            ask("/usr/sbin/scutil", &["--get", "ComputerName"]),
            ask("/usr/sbin/scutil", &["--get", "LocalHostName"]),
        ]
        .into_iter()
        .flatten()
        .collect();
        let short: Vec<String> = names
            .iter()
            .filter_map(|name| name.split_once('.').map(|(host, _)| host.to_owned()))
            .collect();
        names.extend(short);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Self::new(&names)
    }

    /// The text without them, and the number of places that changed.
    ///
    /// # Example
    /// ```
    /// use ncps_profiling::capture::Redaction;
    /// let redaction = Redaction::new(&["ada", "adas-mac.local"]);
    /// let (text, count) = redaction.apply("serial_number: C02XK1Y2\npath: /Users/ada/x on adas-mac.local\n");
    /// assert_eq!(text, "serial_number: (redacted)\npath: /Users/(redacted)/x on (redacted)\n");
    /// assert_eq!(count, 3);
    /// ```
    #[must_use]
    pub fn apply(&self, text: &str) -> (String, usize) {
        let mut count = 0;
        let mut clean = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let mut line = line.to_owned();
            for key in KEYS {
                line = redact_values(&line, key, &mut count);
            }
            line = redact_homes(&line, &mut count);
            line = redact_identifiers(&line, &mut count);
            for name in &self.names {
                line = redact_word(&line, name, &mut count);
            }
            clean.push_str(&line);
        }
        (clean, count)
    }
}

/// Replaces the value behind each key that contains `word`: up to the closing quote or tag where
/// there is one, else to the end of the line.
fn redact_values(line: &str, word: &str, count: &mut usize) -> String {
    let mut clean = String::new();
    let mut rest = line;
    while let Some(place) = find_ignoring_case(rest, word) {
        let after = place + word.len();
        let Some(offset) = rest[after..].find([':', '=', '>']) else {
            break;
        };
        let mut start = after + offset + 1;
        // `</key><string>value</string>`: the value stands behind the tags.
        loop {
            let value = rest[start..].trim_start_matches([' ', '\t']);
            start = rest.len() - value.len();
            match value.strip_prefix('<').and_then(|tag| tag.find('>')) {
                Some(end) => start += end + 2,
                None => break,
            }
        }
        let value = &rest[start..];
        let (opening, length) = match value.strip_prefix('"') {
            Some(quoted) => (1, quoted.find('"').unwrap_or(quoted.trim_end().len())),
            None => (0, value.find(['<', '\n', '\r']).unwrap_or(value.len())),
        };
        let end = start + opening + length;
        let old = &rest[start + opening..end];
        clean.push_str(&rest[..start + opening]);
        if old.trim().is_empty() || old == MARK {
            clean.push_str(old);
        } else {
            clean.push_str(MARK);
            *count += 1;
        }
        rest = &rest[end..];
    }
    clean.push_str(rest);
    clean
}

/// Byte position of an ASCII word, whatever its case.
fn find_ignoring_case(text: &str, word: &str) -> Option<usize> {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    text.windows(word.len())
        .position(|window| window.eq_ignore_ascii_case(word))
}

/// Names of home folders.
fn redact_homes(line: &str, count: &mut usize) -> String {
    let mut clean = line.to_owned();
    for folder in ["/Users/", "/home/"] {
        let mut parts = clean.split(folder);
        let mut joined = parts.next().unwrap_or("").to_owned();
        for part in parts {
            let end = part
                .find(|c: char| !(c.is_alphanumeric() || "._-".contains(c)))
                .unwrap_or(part.len());
            joined.push_str(folder);
            if end > 0 {
                *count += 1;
                joined.push_str(MARK);
            }
            joined.push_str(&part[end..]);
        }
        clean = joined;
    }
    clean
}

/// UUIDs, device identifiers, long hexadecimal numbers and hardware addresses.
fn redact_identifiers(line: &str, count: &mut usize) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == '-' || c == ':';
    let mut clean = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(is_part) {
        let token_end = rest[start..]
            .find(|c: char| !is_part(c))
            .map_or(rest.len(), |n| start + n);
        let token = &rest[start..token_end];
        // A letter next to the token makes it part of a word.
        let before = rest[..start]
            .chars()
            .next_back()
            .or(clean.chars().next_back());
        let after = rest[token_end..].chars().next();
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        clean.push_str(&rest[..start]);
        if is_identifier(token) && !is_word(before) && !is_word(after) {
            clean.push_str(MARK);
            *count += 1;
        } else {
            clean.push_str(token);
        }
        rest = &rest[token_end..];
    }
    clean.push_str(rest);
    clean
}

fn is_identifier(token: &str) -> bool {
    let token = token.trim_matches(['-', ':']);
    let shape = |separator: char| -> Vec<usize> { token.split(separator).map(str::len).collect() };
    let dashes = shape('-');
    let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let is_plain = is_hex(token) && token.len() >= 24;
    let is_uuid = dashes == [8, 4, 4, 4, 12] || dashes == [8, 16];
    let is_address = shape(':') == [2; 6] || dashes == [2; 6];
    is_plain || is_uuid || is_address
}

fn redact_word(line: &str, word: &str, count: &mut usize) -> String {
    let mut clean = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(word) {
        let end = start + word.len();
        let before = rest[..start]
            .chars()
            .next_back()
            .or(clean.chars().next_back());
        let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        clean.push_str(&rest[..start]);
        if is_part(before) || is_part(rest[end..].chars().next()) {
            clean.push_str(word);
        } else {
            clean.push_str(MARK);
            *count += 1;
        }
        rest = &rest[end..];
    }
    clean.push_str(rest);
    clean
}
