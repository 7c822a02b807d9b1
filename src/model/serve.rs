//! served later
