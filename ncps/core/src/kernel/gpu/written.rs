//! Generated sources as tests look at them.

use super::cfc_shape::Shape;
use super::declaration::Element;
use super::launch::Backend;
use super::source::{Body, Language, Source};

/// A kernel's texts for one backend.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) header: String,
    pub(crate) body: String,
    /// The body's own text, without prologue and constants.
    pub(crate) own: String,
    /// Groups, threads and floats of shared memory.
    launch: [usize; 3],
    inputs: Vec<(Element, String)>,
    outputs: Vec<(Element, String)>,
    /// For CUDA the whole program.
    program: Option<String>,
}

impl Written {
    pub(super) fn new(body: &Body, shape: &Shape, backend: Backend) -> Result<Self, String> {
        let language = if backend == Backend::Metal {
            Language::Metal
        } else {
            Language::Cuda
        };
        let (constants, threads, shared) = (&shape.constants, shape.threads, shape.shared);
        let source = Source::new(body, constants, language, threads, shared)?;
        let declaration = body.declaration()?;
        let own = source
            .body
            .split_once("// kernel")
            .map_or("", |(_, own)| own);
        Ok(Self {
            program: (language == Language::Cuda).then(|| source.program(declaration)),
            own: own.to_owned(),
            name: source.name,
            header: source.header,
            body: source.body,
            launch: [shape.groups, threads, shared],
            inputs: declaration.inputs.clone(),
            outputs: declaration.outputs.clone(),
        })
    }

    /// Number of arrays that the kernel takes and gives.
    pub(crate) fn arrays(&self) -> usize {
        self.inputs.len() + self.outputs.len()
    }

    /// The end of a file's name, and a whole program: ours for CUDA, for Metal as MLX would make it.
    pub(crate) fn with_signature(&self) -> (&'static str, String) {
        let [groups, threads, shared] = self.launch;
        let shape =
            format!("// {groups} groups of {threads} threads, {shared} floats of shared memory");
        if let Some(program) = &self.program {
            return ("cu", format!("{shape}\n{program}"));
        }
        let kind = |element: Element| match element {
            Element::Float => "float",
            Element::Int => "int",
        };
        let mut arguments = Vec::new();
        for (element, name) in &self.inputs {
            arguments.push(format!("const device {}* {name}", kind(*element)));
        }
        for (element, name) in &self.outputs {
            arguments.push(format!("device {}* {name}", kind(*element)));
        }
        arguments.push("uint3 thread_position_in_threadgroup".to_owned());
        arguments.push("uint3 threadgroup_position_in_grid".to_owned());
        let text = format!(
            "{shape}\n{}\nkernel void {}(\n    {}) {{\n{}\n}}\n",
            self.header,
            self.name,
            arguments.join(",\n    "),
            self.body
        );
        ("metal", text)
    }
}
