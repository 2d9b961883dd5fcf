//! Makes a server of each fix: an exercise's starter (or its solution) with the edits that `fixes.toml` names.
//!
//! Invariant: an edit replaces a text that stands exactly once. Otherwise the build fails, and says which edit.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;

#[derive(Deserialize)]
struct Fixes {
    #[serde(default)]
    wrong: Vec<Fix>,
    #[serde(default)]
    right: Vec<Fix>,
}

/// What of a fix makes its source; the lab reads the rest.
#[derive(Deserialize)]
struct Fix {
    name: String,
    #[serde(default)]
    from: Origin,
    edits: Vec<Edit>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Origin {
    #[default]
    Starter,
    Solution,
}

#[derive(Deserialize)]
struct Edit {
    find: String,
    put: String,
}

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let exercises = Path::new("..").canonicalize().expect("the exercises");
    let (mut modules, mut servers) = (String::new(), String::new());
    // The servers of most chapters need Linux.
    let on_linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    for folder in folders(&exercises).into_iter().filter(|_| on_linux) {
        let file = folder.join("fixes.toml");
        for watched in ["fixes.toml", "starter.rs", "solution.rs"] {
            println!("cargo::rerun-if-changed={}", folder.join(watched).display());
        }
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let fixes: Fixes = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let exercise = folder.file_name().expect("a name").to_string_lossy().into_owned();
        for (kind, fix) in
            fixes.wrong.iter().map(|fix| ("wrong", fix)).chain(fixes.right.iter().map(|fix| ("right", fix)))
        {
            let module = format!("{kind}_{}_{}", &exercise[..2], fix.name);
            let path = out.join(format!("{module}.rs"));
            fs::write(&path, source(&folder, fix)).expect("written");
            let _ = writeln!(modules, "#[allow(warnings, clippy::all)]\n#[path = {path:?}]\nmod {module};");
            let _ = writeln!(servers, "    (\"{exercise}/{kind}/{}\", {module}::main),", fix.name);
        }
    }
    let registry = format!("{modules}\n/// The servers.\npub const SERVERS: &[(&str, Main)] = &[\n{servers}];\n");
    fs::write(out.join("servers.rs"), registry).expect("written");
}

/// The exercises' folders, in their order.
fn folders(exercises: &Path) -> Vec<PathBuf> {
    println!("cargo::rerun-if-changed={}", exercises.display());
    let entries = fs::read_dir(exercises).expect("the exercises").flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.join("starter.rs").is_file()).collect();
    folders.sort();
    folders
}

fn source(folder: &Path, fix: &Fix) -> String {
    let origin = match fix.from {
        Origin::Starter => "starter.rs",
        Origin::Solution => "solution.rs",
    };
    let mut text = fs::read_to_string(folder.join(origin)).expect("every exercise has both");
    for Edit { find, put } in &fix.edits {
        let times = text.matches(find.as_str()).count();
        assert!(
            times == 1,
            "{}, fix {}: this stands {times} times in {origin}, not once:\n{find}",
            folder.display(),
            fix.name
        );
        text = text.replacen(find, put, 1);
    }
    text
}
