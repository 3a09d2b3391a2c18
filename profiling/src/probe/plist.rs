//! Property lists in XML, as far as Apple's tools print them.
//!
//! A document that is cut short or not well formed gives nothing, so that no cut number is taken for
//! a whole one. A key that comes twice keeps its first value: some versions of powermetrics repeat one.

/// A value of a property list; dates and data are kept as text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Keys in their order.
    Dictionary(Vec<(String, Value)>),
    /// Values in their order.
    Array(Vec<Value>),
    /// `<integer>` or `<real>`.
    Number(f64),
    /// `<string>`, `<date>` or `<data>`.
    Text(String),
    /// `<true/>` or `<false/>`.
    Boolean(bool),
}

/// Containers within containers; Apple's tools use about ten.
const DEPTH: usize = 32;

impl Value {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Self::Dictionary(pairs) => pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    pub(super) fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads one whole document.
pub(super) fn parse(text: &str) -> Option<Value> {
    let (_, rest) = text.split_once("<plist")?;
    let (_, body) = rest.split_once('>')?;
    let mut reader = Reader { rest: body };
    let value = reader.value(0)?;
    (reader.tag()? == "/plist").then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// The next tag without its brackets; only white space and comments may stand before it.
    fn tag(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        while let Some(comment) = self.rest.strip_prefix("<!--") {
            self.rest = comment.split_once("-->")?.1.trim_start();
        }
        let (tag, rest) = self.rest.strip_prefix('<')?.split_once('>')?;
        self.rest = rest;
        Some(tag)
    }

    /// Text up to the closing tag of `name`.
    fn content(&mut self, name: &str) -> Option<&'a str> {
        let (content, rest) = self.rest.split_once('<')?;
        self.rest = rest
            .strip_prefix('/')?
            .strip_prefix(name)?
            .strip_prefix('>')?;
        Some(content)
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        let tag = self.tag()?;
        self.value_of(tag, depth)
    }

    fn value_of(&mut self, tag: &str, depth: usize) -> Option<Value> {
        match tag {
            "dict" if depth < DEPTH => self.dictionary(depth + 1),
            "array" if depth < DEPTH => self.array(depth + 1),
            "dict/" => Some(Value::Dictionary(Vec::new())),
            "array/" => Some(Value::Array(Vec::new())),
            "true/" => Some(Value::Boolean(true)),
            "false/" => Some(Value::Boolean(false)),
            "string/" => Some(Value::Text(String::new())),
            "integer" | "real" => {
                let number = self.content(tag)?.trim().parse::<f64>().ok()?;
                number.is_finite().then_some(Value::Number(number))
            }
            "string" | "date" | "data" => Some(Value::Text(unescape(self.content(tag)?))),
            _ => None,
        }
    }

    fn dictionary(&mut self, depth: usize) -> Option<Value> {
        let mut pairs: Vec<(String, Value)> = Vec::new();
        loop {
            match self.tag()? {
                "/dict" => return Some(Value::Dictionary(pairs)),
                "key" => {
                    let key = unescape(self.content("key")?);
                    let value = self.value(depth)?;
                    if pairs.iter().all(|(known, _)| *known != key) {
                        pairs.push((key, value));
                    }
                }
                _ => return None,
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        loop {
            match self.tag()? {
                "/array" => return Some(Value::Array(items)),
                tag => items.push(self.value_of(tag, depth)?),
            }
        }
    }
}

fn unescape(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">");
    let plain = plain.replace("&quot;", "\"").replace("&apos;", "'");
    plain.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DOCUMENT: &str = "<?xml version=\"1.0\"?>\n<plist version=\"1.0\">\n<dict>\n\
        <key>a &amp; b</key><integer>12</integer><key>t</key><true/>\n\
        <key>list</key><array><real>1.5e3</real><string>x</string></array>\n\
        <!-- <key>list</key> --><key>list</key><integer>9</integer></dict></plist>";

    #[test]
    fn values_are_read_and_a_repeated_key_keeps_its_first() {
        let value = parse(DOCUMENT).unwrap();
        assert_eq!(value.get("a & b").unwrap().number(), Some(12.0));
        assert_eq!(value.get("t"), Some(&Value::Boolean(true)));
        let list = value.get("list").unwrap().items();
        assert_eq!(list, [Value::Number(1500.0), Value::Text("x".into())]);
    }

    #[test]
    fn a_document_that_is_cut_anywhere_is_none() {
        for end in 0..DOCUMENT.len() {
            assert_eq!(parse(&DOCUMENT[..end]), None, "{end}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("<plist>{}", "<array>".repeat(100_000));
        assert_eq!(parse(&deep), None);
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn any_text_is_survived(text in "(<(/?(dict|array|key|integer|plist)|true/)>|[a-z0-9 .]){0,40}") {
            let _ = parse(&format!("<plist>{text}"));
        }
    }
}
