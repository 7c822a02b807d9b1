//! Makes the parts of a view.
