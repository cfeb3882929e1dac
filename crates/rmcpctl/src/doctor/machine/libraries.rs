// SPDX-License-Identifier: MIT OR Apache-2.0
//! Installed PyTorch, ROCm and rocBLAS: where they are, which versions they call themselves, for which chips they have code.

use super::processes::Processes;
use crate::doctor::code::{self, Code};
use crate::doctor::gfx::Gfx;
use crate::system::{System, clean};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The most installations of each kind, and names that are read of a folder.
const MOST: usize = 20;
const NAMES: usize = 20_000;

/// A PyTorch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Torch {
    /// The folder of the Python package.
    pub path: String,
    /// `torch.__version__`.
    pub version: Option<String>,
    /// `torch.version.hip`; none when it was not built for ROCm.
    pub hip: Option<String>,
    /// The code in `libtorch_hip.so`, or why it could not be read.
    pub code: Result<Code, String>,
}

/// A folder of rocBLAS's kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tensile {
    /// The folder.
    pub path: String,
    /// The chips that files in it are named after.
    pub chips: BTreeSet<Gfx>,
}

/// A version of ROCm, and what says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Such as `6.2.0-66`.
    pub version: String,
    /// The file, or the package.
    pub place: String,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Libraries {
    /// PyTorch.
    pub torch: Vec<Torch>,
    /// rocBLAS.
    pub tensile: Vec<Tensile>,
    /// ROCm.
    pub rocm: Vec<Version>,
}

/// Looks where such things are usually installed, and where processes that run have them.
pub fn all(system: &System, processes: &Processes, more: &[String]) -> Libraries {
    let mut packages: BTreeSet<String> = BTreeSet::new();
    for path in more {
        packages.insert(path.trim_matches('/').to_owned());
    }
    for base in python_folders(system) {
        packages.insert(format!("{base}/torch"));
    }
    let mut tensile: BTreeSet<String> = BTreeSet::new();
    for library in processes.rocm.iter().flat_map(|process| &process.libraries) {
        let library = library.trim_start_matches('/');
        if let Some((folder, _)) = library.split_once("/lib/libtorch_hip.so") {
            packages.insert(folder.to_owned());
        }
        if let Some((folder, _)) = library.rsplit_once("/librocblas.so") {
            tensile.insert(format!("{folder}/rocblas/library"));
        }
    }
    let torch: Vec<_> = packages
        .iter()
        .filter_map(|path| torch(system, path))
        .take(MOST)
        .collect();
    for path in &packages {
        tensile.insert(format!("{path}/lib/rocblas/library"));
    }
    let opt = roots(system);
    tensile.extend(opt.iter().map(|root| format!("{root}/lib/rocblas/library")));
    tensile.insert("usr/lib/rocblas/library".into());
    tensile.insert("usr/lib64/rocblas/library".into());
    for name in system
        .list("usr/lib/x86_64-linux-gnu/rocblas")
        .unwrap_or_default()
    {
        tensile.insert(format!("usr/lib/x86_64-linux-gnu/rocblas/{name}/library"));
    }
    let tensile = tensile
        .into_iter()
        .filter_map(|path| self::tensile(system, path))
        .take(MOST);
    Libraries {
        torch,
        tensile: tensile.collect(),
        rocm: versions(system, &opt),
    }
}

/// Folders of ROCm as AMD packages it.
fn roots(system: &System) -> Vec<String> {
    let names = system.list("opt").unwrap_or_default();
    let names = names
        .iter()
        .filter(|name| *name == "rocm" || name.starts_with("rocm-"));
    names.take(MOST).map(|name| format!("opt/{name}")).collect()
}

/// Where Python packages are.
fn python_folders(system: &System) -> Vec<String> {
    let mut bases: Vec<String> = ["usr", "usr/local", "opt/conda", "opt/venv"]
        .map(str::to_owned)
        .to_vec();
    let homes = system.list("home").unwrap_or_default();
    for home in homes
        .iter()
        .take(MOST)
        .map(|name| format!("home/{name}"))
        .chain(["root".into()])
    {
        bases.push(format!("{home}/.local"));
        for name in system.list(&home).unwrap_or_default().iter().take(200) {
            bases.push(format!("{home}/{name}"));
            for inner in ["venv", ".venv", "env"] {
                bases.push(format!("{home}/{name}/{inner}"));
            }
        }
    }
    let mut found = vec!["usr/lib/python3/dist-packages".to_owned()];
    for base in bases {
        let names = system.list(&format!("{base}/lib")).unwrap_or_default();
        for name in names.iter().filter(|name| name.starts_with("python3")) {
            for kind in ["site-packages", "dist-packages"] {
                found.push(format!("{base}/lib/{name}/{kind}"));
            }
        }
    }
    found
}

fn torch(system: &System, path: &str) -> Option<Torch> {
    let text = system.text(&format!("{path}/version.py")).ok()?;
    let library = format!("{path}/lib/libtorch_hip.so");
    let file = system.files().places(&library);
    let code = match file {
        Ok(file) => code::read(&*file),
        Err(refusal) => Err(format!("/{library}: {refusal}")),
    };
    Some(Torch {
        path: format!("/{path}"),
        version: assigned(&text, "__version__"),
        hip: assigned(&text, "hip").filter(|value| value != "None"),
        code,
    })
}

/// `name: type = 'value'` in a Python file.
pub(crate) fn assigned(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with([' ', ':', '=']) {
            return None;
        }
        let (_, value) = rest.split_once('=')?;
        let value = value.trim().trim_matches(['\'', '"']);
        (!value.is_empty()).then(|| value.chars().take(100).collect())
    })
}

fn tensile(system: &System, path: String) -> Option<Tensile> {
    let names = system.list(&path).ok()?;
    let chips = names.iter().take(NAMES).filter_map(|name| {
        // Only a library says that there are kernels of one's own; fallback files are for every chip.
        let named = name.starts_with("TensileLibrary") && !name.contains("fallback");
        let at = name.rfind("gfx").filter(|_| named)?;
        Gfx::find(name.get(at..)?).map(|(gfx, _)| gfx)
    });
    let chips: BTreeSet<Gfx> = chips.collect();
    let path = format!("/{path}");
    (!names.is_empty()).then_some(Tensile { path, chips })
}

fn versions(system: &System, roots: &[String]) -> Vec<Version> {
    let mut found = Vec::new();
    for root in roots {
        let path = format!("{root}/.info/version");
        if let Ok(version) = system.text(&path) {
            let (version, place) = (version.chars().take(40).collect(), format!("/{path}"));
            found.push(Version { version, place });
        }
    }
    let status = system.files().read("var/lib/dpkg/status", 64 << 20);
    let packages = packages(&clean(&status.unwrap_or_default()));
    for name in [
        "libhsa-runtime64-1",
        "libamdhip64-5",
        "libamdhip64-6",
        "libamdhip64-7",
        "rocm-core",
    ] {
        if let Some(version) = packages.get(name) {
            found.push(Version {
                version: version.clone(),
                place: format!("package {name}"),
            });
        }
    }
    found
}

/// Installed packages and their versions, of dpkg's list.
pub(crate) fn packages(status: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
        let installed = field("Status: ").is_some_and(|status| status.ends_with(" installed"));
        if let (true, Some(name), Some(version)) =
            (installed, field("Package: "), field("Version: "))
        {
            found.insert(name.to_owned(), version.to_owned());
        }
    }
    found
}

/// The first two numbers of a version: 6 and 2 in `6.2.0-66` and in `6.2.41133-dd7f95766`.
pub fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-', '+', '~', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_file_of_pytorch_is_read() {
        let text = "from typing import Optional\n\n__all__ = ['__version__', 'hip']\n\
                    __version__ = '2.5.1+rocm6.2'\ncuda: Optional[str] = None\nhip: Optional[str] = '6.2.41133-dd7f95766'\n";
        assert_eq!(
            assigned(text, "__version__").as_deref(),
            Some("2.5.1+rocm6.2")
        );
        assert_eq!(
            assigned(text, "hip").as_deref(),
            Some("6.2.41133-dd7f95766")
        );
        assert_eq!(assigned(text, "cuda").as_deref(), Some("None"));
        assert_eq!(assigned(text, "xpu"), None);
        assert_eq!(major_minor("6.2.41133-dd7f95766"), Some((6, 2)));
        assert_eq!(major_minor("5.7"), Some((5, 7)));
        assert_eq!(major_minor("unknown"), None);
    }

    #[test]
    fn only_installed_packages_count() {
        let text = "Package: rocm-core\nStatus: deinstall ok config-files\nVersion: 5.7\n\n\
                    Package: libamdhip64-5\nStatus: install ok installed\nVersion: 5.7.1-6\n";
        let found = packages(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found["libamdhip64-5"], "5.7.1-6");
    }
}
