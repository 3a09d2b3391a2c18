//! What a kernel body declares in its first lines: its name, arrays, sizes and helper files.
//!
//! The build script reads this file too, to make the emulator's side of the same declarations.

/// The element type of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Float,
    Int,
}

/// The declaration at the head of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    pub(crate) inputs: Vec<(Element, String)>,
    pub(crate) outputs: Vec<(Element, String)>,
    /// Integers that are constants of the generated source.
    pub(crate) sizes: Vec<String>,
    /// Floats, likewise.
    pub(crate) reals: Vec<String>,
    /// Arrays of integers, likewise.
    pub(crate) tables: Vec<String>,
    /// Helper files.
    pub(crate) uses: Vec<String>,
}

impl Declaration {
    /// Reads the comment lines at the head of a body.
    ///
    /// # Errors
    /// A message that quotes the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for line in text.lines() {
            let Some(line) = line.strip_prefix("// ") else {
                break;
            };
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let items = rest
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            let names = items.clone().map(str::to_owned);
            match word {
                "kernel" => found.name = rest.trim().to_owned(),
                "in" => found.inputs.extend(arrays(items)?),
                "out" => found.outputs.extend(arrays(items)?),
                "size" => found.sizes.extend(names),
                "real" => found.reals.extend(names),
                "table" => found.tables.extend(names),
                "use" => found.uses.extend(names),
                _ => {}
            }
        }
        if found.name.is_empty() || found.outputs.is_empty() {
            return Err("a body begins with `// kernel NAME` and declares an output".to_owned());
        }
        Ok(found)
    }
}

fn arrays<'a>(items: impl Iterator<Item = &'a str>) -> Result<Vec<(Element, String)>, String> {
    items
        .map(|item| match item.split_once(' ') {
            Some(("float", name)) => Ok((Element::Float, name.trim().to_owned())),
            Some(("int", name)) => Ok((Element::Int, name.trim().to_owned())),
            _ => Err(format!("`{item}`: expected `float NAME` or `int NAME`")),
        })
        .collect()
}
