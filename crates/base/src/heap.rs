//! Slabs and their objects, as a walk finds them and the analysis uses them.
