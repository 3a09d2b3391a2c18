//! Short programs that show one idea each; see the `src/bin` folder.
