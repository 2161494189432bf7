//! What `albert serve` will stand on. So far: the files of its web page, carried by the program.
//!
//! ```
//! let page = albert_server::page_file("/").ok_or("no page")?;
//! assert_eq!(page.content_type, "text/html; charset=utf-8");
//! # Ok::<(), &str>(())
//! ```

mod page;

pub use page::{PageFile, page_file};
