//! The files of the web page, which whatever links this crate carries.

/// Names relative to `page/`, with bytes.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// A file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageFile {
    /// What it holds.
    pub(crate) bytes: &'static [u8],
    /// Its `Content-Type`.
    pub(crate) content_type: &'static str,
}

/// The file at a path of a URL, such as `/app.js`; at `/` the page itself. Only what was there when
/// the program was built has a path: nothing is read from the disk.
pub(crate) fn page_file(path: &str) -> Option<PageFile> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        name => name,
    };
    let (name, bytes) = FILES.iter().find(|(known, _)| *known == name)?;
    Some(PageFile {
        bytes,
        content_type: content_type(name),
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_all_that_it_names_are_there() {
        assert_eq!(page_file("/index.html"), page_file("/"));
        for name in ["/", "/api.html"] {
            let page = page_file(name).unwrap();
            assert_eq!(page.content_type, "text/html; charset=utf-8");
            let text = std::str::from_utf8(page.bytes).unwrap();
            let mut named = 0;
            for part in text.split(['"', '\'']) {
                let path = part.trim_start_matches("./").trim_start_matches('/');
                let file = [".js", ".css", ".svg", ".html"];
                if file.iter().any(|end| path.ends_with(end)) {
                    named += 1;
                    assert!(page_file(&format!("/{path}")).is_some(), "{path}");
                }
            }
            assert!(named > 2, "{name} names neither script nor style");
        }
    }

    #[test]
    fn nothing_else_is_there() {
        for path in [
            "",
            "app.js",
            "/../Cargo.toml",
            "/page/app.js",
            "//app.js",
            "/no.js",
        ] {
            assert_eq!(page_file(path), None, "{path}");
        }
    }

    #[test]
    fn every_file_has_a_type_that_browsers_run() {
        for (name, _) in FILES {
            assert_ne!(content_type(name), "application/octet-stream", "{name}");
        }
    }
}
