//! Integration tests of the whole project.
