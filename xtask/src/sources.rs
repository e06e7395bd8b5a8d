//! The machine's own apt sources, read to learn which mirror it uses.
//!
//! The kernels to test on come from suites beside the installed one. Taking the mirror from the
//! machine keeps every host name out of the repository and works behind a local mirror too.
//! Both formats are read: deb822 (`*.sources`) and one line per source (`*.list`).

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

/// Used when the source names no keyring: where Debian installs its archive keys.
const DEFAULT_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One source of binary packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub uri: String,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    /// A keyring file; absent when the source relies on apt's trusted keys.
    pub signed_by: Option<String>,
}

/// The archives the kernels come from.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirror {
    pub main: String,
    /// Absent when the machine takes no security updates: the main archive must do then.
    pub security: Option<String>,
    pub keyring: String,
}

impl Mirror {
    /// Reads `/etc/apt`.
    pub fn of_this_machine() -> Result<Self> {
        let mut sources = Vec::new();
        let mut read = |path: &Path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            match path.extension().and_then(|ext| ext.to_str()) {
                Some("sources") => sources.extend(deb822(&text)),
                Some("list") => sources.extend(one_line(&text)),
                _ => {}
            }
        };
        read(Path::new("/etc/apt/sources.list"));
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            files.sort();
            files.iter().for_each(|file| read(file));
        }
        match choose(&sources) {
            Some(mirror) => Ok(mirror),
            None => bail!(
                "found no Debian archive in /etc/apt/sources.list or /etc/apt/sources.list.d; \
                 add one, or give a kernel of your own with --kernel-image FILE --modules DIR"
            ),
        }
    }
}

/// The Debian archive and its security archive among all sources (other vendors' use the same
/// suite names, so the end of the address decides).
fn choose(sources: &[Source]) -> Option<Mirror> {
    let with_main = || {
        sources
            .iter()
            .filter(|source| source.components.iter().any(|c| c == "main"))
    };
    let last = |source: &Source| {
        let path = source.uri.trim_end_matches('/');
        path.rsplit('/').next().unwrap_or(path).to_owned()
    };
    let main = with_main().find(|source| {
        let name = last(source);
        name.starts_with("debian") && !name.contains("security")
    })?;
    let security =
        with_main().find(|source| source.suites.iter().any(|s| s.ends_with("-security")));
    Some(Mirror {
        main: main.uri.clone(),
        security: security.map(|source| source.uri.clone()),
        keyring: main
            .signed_by
            .clone()
            .unwrap_or_else(|| DEFAULT_KEYRING.to_owned()),
    })
}

/// Parses the deb822 format: stanzas of `Field: values`, continued on indented lines.
fn deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for stanza in text.split("\n\n") {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in stanza.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let words = |name: &str| -> Vec<String> {
            let values = fields.iter().filter(|(field, _)| field == name);
            values
                .flat_map(|(_, value)| value.split_whitespace())
                .map(str::to_owned)
                .collect()
        };
        if words("enabled").first().is_some_and(|value| value == "no")
            || !words("types").contains(&"deb".to_owned())
        {
            continue;
        }
        // An inline key block is no file; apt's default keyring then has to do.
        let signed_by = words("signed-by")
            .into_iter()
            .next()
            .filter(|value| value.starts_with('/'));
        found.extend(words("uris").into_iter().map(|uri| Source {
            uri,
            suites: words("suites"),
            components: words("components"),
            signed_by: signed_by.clone(),
        }));
    }
    found
}

/// Parses the format of one line per source: `deb [option=value …] URI SUITE COMPONENT…`.
fn one_line(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
        let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(inside) => inside.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        Some(Source {
            uri: words.next()?,
            suites: vec![words.next()?],
            components: words.collect(),
            signed_by: options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="))
                .map(str::to_owned),
        })
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address at which a made-up host has an archive.
    fn archive(host: &str, path: &str) -> String {
        ["http", "://", host, path].concat()
    }

    #[test]
    fn deb822_stanzas() {
        let main = archive("host", "/debian");
        let security = archive("host", "/debian-security/");
        let off = archive("off", "/debian");
        let sources = deb822(&format!(
            "\
Types: deb deb-src
# a comment
URIs: {main}
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /keys/archive.gpg

Types: deb
URIs: {security}
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: {off}
Suites: bookworm
Components: main
"
        ));
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
        let mirror = choose(&sources).unwrap();
        assert_eq!(mirror.main, main);
        assert_eq!(mirror.security, Some(security));
        assert_eq!(mirror.keyring, "/keys/archive.gpg");
    }

    #[test]
    fn one_line_sources_among_other_vendors() {
        let main = archive("host", "/debian/");
        let off = archive("off", "/debian");
        let vendor = archive("vendor", "/apt");
        let sources = one_line(&format!(
            "# deb {off} sid main\n\
             deb-src {off} sid main\n\
             deb {vendor} bookworm main\n\
             deb [arch=amd64 signed-by=/keys/a.gpg] {main} bookworm main contrib # why\n"
        ));
        assert_eq!(sources.len(), 2);
        let mirror = choose(&sources).unwrap();
        assert_eq!(mirror.main, main);
        assert_eq!(mirror.security, None);
        assert_eq!(mirror.keyring, "/keys/a.gpg");
    }

    #[test]
    fn no_debian_archive_is_none() {
        let ubuntu = archive("host", "/ubuntu");
        assert_eq!(
            choose(&one_line(&format!("deb {ubuntu} noble main\n"))),
            None
        );
    }
}
