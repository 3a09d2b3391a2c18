//! From a kernel body to the source that MLX compiles for a device.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use super::declaration::{Declaration, Element};

/// Helper files that bodies may use.
const HELPERS: [(&str, &str); 3] = [
    ("common", include_str!("bodies/common.inc")),
    ("cfc", include_str!("bodies/cfc.inc")),
    ("ltc", include_str!("bodies/ltc.inc")),
];

/// The language of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    /// Apple's, for Metal.
    Metal,
    /// NVIDIA's, compiled when first used.
    Cuda,
}

/// A kernel body: one text for all languages.
#[derive(Debug)]
pub(crate) struct Body {
    text: &'static str,
    declaration: OnceLock<Result<Declaration, String>>,
}

impl Body {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self {
            text,
            declaration: OnceLock::new(),
        }
    }

    /// What the body declares.
    pub(crate) fn declaration(&self) -> Result<&Declaration, String> {
        let parsed = self
            .declaration
            .get_or_init(|| Declaration::parse(self.text));
        parsed.as_ref().map_err(Clone::clone)
    }
}

/// The constants of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Constants {
    pub(crate) sizes: Vec<(&'static str, i32)>,
    pub(crate) reals: Vec<(&'static str, f32)>,
    pub(crate) tables: Vec<(&'static str, Vec<i32>)>,
}

impl Constants {
    /// Groups that work on the same samples and reach each other's shared memory.
    pub(crate) fn cluster(&self) -> usize {
        let own = self.sizes.iter().find(|(name, _)| *name == "CLUSTER");
        own.map_or(1, |(_, count)| (*count).max(1) as usize)
    }
}

/// A kernel's texts for MLX, and a name that differs wherever they do: MLX keeps compiled kernels by name.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) header: String,
    pub(crate) body: String,
    cluster: usize,
}

impl Source {
    pub(crate) fn new(
        body: &Body,
        constants: &Constants,
        language: Language,
        threads: usize,
        shared: usize,
    ) -> Result<Self, String> {
        let declaration = body.declaration()?;
        let (prologue, start, qualifier) = match language {
            Language::Metal => (
                include_str!("prologue/metal.inc"),
                include_str!("prologue/metal_body.inc"),
                "constant constexpr int",
            ),
            Language::Cuda => (
                include_str!("prologue/cuda.inc"),
                include_str!("prologue/cuda_body.inc"),
                "__device__ constexpr int",
            ),
        };
        let scalar = |kind: &str| match language {
            Language::Metal => format!("constant constexpr {kind}"),
            Language::Cuda => format!("constexpr {kind}"),
        };
        let mut header = format!("{prologue}\n");
        let mut constant = |kind: &str, name: &str, value: &str| {
            let _ = writeln!(header, "{} {name} = {value};", scalar(kind));
        };
        constant("int", "THREADS", &threads.to_string());
        constant(
            "int",
            "SHARED_WORDS",
            &shared.div_ceil(4).max(1).to_string(),
        );
        for (name, value) in &constants.sizes {
            constant("int", name, &value.to_string());
        }
        for (name, value) in &constants.reals {
            // `{:e}` is read back as the same float.
            constant("float", name, &format!("{value:e}f"));
        }
        for (name, values) in &constants.tables {
            let values: Vec<String> = values.iter().map(i32::to_string).collect();
            let _ = writeln!(
                header,
                "{qualifier} {name}[] = {{{}}};",
                if values.is_empty() {
                    "0".to_owned()
                } else {
                    values.join(", ")
                }
            );
        }
        for used in &declaration.uses {
            let helper = HELPERS.iter().find(|(name, _)| name == used);
            let (_, text) = helper.ok_or_else(|| format!("there is no helper `{used}`"))?;
            header += text;
            header.push('\n');
        }
        let body = format!("{start}{}", body.text);
        let mut hasher = DefaultHasher::new();
        (&header, &body).hash(&mut hasher);
        let name = format!("ncps_{}_{:016x}", declaration.name, hasher.finish());
        Ok(Self {
            name,
            header,
            body,
            cluster: constants.cluster(),
        })
    }

    /// A whole program for CUDA: the arrays in the order of the declaration are the kernel's arguments.
    pub(crate) fn program(&self, declaration: &Declaration) -> String {
        let kind = |element: &Element| match element {
            Element::Float => "float",
            Element::Int => "int",
        };
        let inputs = declaration.inputs.iter();
        let inputs = inputs.map(|(e, name)| format!("const {}* __restrict__ {name}", kind(e)));
        let outputs = declaration.outputs.iter();
        let outputs = outputs.map(|(e, name)| format!("{}* __restrict__ {name}", kind(e)));
        let arguments: Vec<String> = inputs.chain(outputs).collect();
        let cluster = match self.cluster {
            1 => String::new(),
            groups => format!("__cluster_dims__({groups}, 1, 1) "),
        };
        format!(
            "{}\nextern \"C\" __global__ void {cluster}__launch_bounds__(THREADS) {}({}) {{\n{}\n}}\n",
            self.header,
            self.name,
            arguments.join(", "),
            self.body
        )
    }
}
