//! modal
