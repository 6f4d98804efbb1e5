pub mod app;
pub mod core;
pub mod plugin;
