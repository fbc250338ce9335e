//! No modules of a crate import each other in a circle.
//! A module is a file; what it imports are the paths in its code that begin with `crate`, `super`,
//! `self` or the name of one of its own modules. A `pub use` is no import but another name.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CRATES: [&str; 4] = ["protocol", "dissector", "reference-server", "harness"];

/// A module: the names that lead to it from the root of its crate.
type Module = Vec<String>;

/// The modules of a crate and their code without comments, texts and tests.
fn modules(of: &Path) -> BTreeMap<Module, String> {
    let mut modules = BTreeMap::new();
    let mut folders: Vec<(PathBuf, Module)> = vec![(of.to_owned(), Vec::new())];
    while let Some((folder, inside)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut module = inside.clone();
            if path.is_dir() {
                module.push(stem);
                folders.push((path, module));
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs")
                || matches!(stem.as_str(), "main" | "tests")
                || stem.ends_with("_tests")
                || inside.last().is_some_and(|last| last == "tests")
            {
                continue;
            }
            if !matches!(stem.as_str(), "lib" | "mod") {
                module.push(stem);
            }
            modules.insert(module, code(&std::fs::read_to_string(&path).unwrap()));
        }
    }
    modules
}

/// What a file says outside of comments, texts and the module of its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut out = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap();
        let outside = line.split('"').step_by(2);
        out.extend(outside);
        out.push('\n');
    }
    out
}

/// The words and signs of a piece of code.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        if !token.trim().is_empty() {
            tokens.push(token);
        }
        rest = after;
    }
    tokens
}

/// The paths of a tree of imports, or the one path of an expression; how many tokens that are.
fn paths(tokens: &[&str], before: &[String], out: &mut Vec<Module>) -> usize {
    let mut path = before.to_vec();
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at += paths(&tokens[at..], &path, out).max(1);
                    if tokens.get(at) == Some(&"as") {
                        at += 2;
                    }
                    if tokens.get(at) == Some(&",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push((*word).to_owned());
                at += 1;
            }
            _ => break,
        }
        if tokens.get(at) == Some(&"::")
            && tokens.get(at + 1).is_some_and(|next| *next != "<" && *next != "*")
        {
            at += 1;
        } else {
            break;
        }
    }
    out.push(path);
    at
}

/// Where a path stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Code,
    Use,
    PubUse,
}

/// The paths that a module's code has.
fn mentioned(code: &str) -> Vec<(Place, Module)> {
    let tokens = tokens(code);
    let mut all = Vec::new();
    let (mut at, mut place) = (0, Place::Code);
    while at < tokens.len() {
        match tokens[at] {
            "use" => {
                // `pub use`, `pub(crate) use`.
                let before = at.checked_sub(1).map(|before| tokens[before]);
                let is_pub = before == Some("pub")
                    || (before == Some(")") && at >= 4 && tokens[at - 4] == "pub");
                place = if is_pub { Place::PubUse } else { Place::Use };
            }
            ";" => place = Place::Code,
            _ if at > 0 && tokens[at - 1] == "::" => {}
            _ if tokens.get(at + 1) == Some(&"::") => {
                let mut found = Vec::new();
                at += paths(&tokens[at..], &[], &mut found).max(1);
                all.extend(found.into_iter().map(|path| (place, path)));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    all
}

/// What a module calls others, and which those are.
type Names = BTreeMap<String, Module>;

/// A path of a module's code as one from the root of the crate, if it is one of the crate.
fn absolute(
    path: &[String],
    from: &[String],
    names: &Names,
    all: &BTreeMap<Module, String>,
) -> Option<Module> {
    let path = path.strip_suffix(&["self".to_owned()]).filter(|it| !it.is_empty()).unwrap_or(path);
    let mut base = from.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => (base, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|first| first == "super") {
                base.pop()?;
                rest = &rest[1..];
            }
        }
        first => {
            let mut child = base.clone();
            child.push(first.to_owned());
            if !all.contains_key(&child) {
                return names.get(first).map(|module| [module, &path[1..]].concat());
            }
        }
    }
    base.extend_from_slice(rest);
    Some(base)
}

/// Which modules each module imports.
fn imports(all: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut names = BTreeMap::new();
    let mut wanted = Vec::new();
    for (module, code) in all {
        let mentioned = mentioned(code);
        let mut called = Names::new();
        for (_, path) in mentioned.iter().filter(|(place, _)| *place != Place::Code) {
            if let Some(path) = absolute(path, module, &Names::new(), all)
                && let Some(last) = path.last()
            {
                called.insert(last.clone(), path);
            }
        }
        for (place, path) in mentioned {
            let Some(path) = absolute(&path, module, &called, all) else { continue };
            if place == Place::PubUse
                && let Some(last) = path.last()
            {
                names.insert([&module[..], std::slice::from_ref(last)].concat(), path);
            } else {
                wanted.push((module.clone(), path));
            }
        }
    }
    let mut imports: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, mut path) in wanted {
        // Names of names are few; a circle of them would not compile.
        for _ in 0..8 {
            match (0..=path.len()).find_map(|end| names.get(&path[..end]).map(|to| (end, to))) {
                Some((end, to)) => path = [to, &path[end..]].concat(),
                None => break,
            }
        }
        let target =
            (0..=path.len()).rev().map(|end| &path[..end]).find(|it| all.contains_key(*it));
        if let Some(target) = target.filter(|target| *target != module) {
            imports.entry(module).or_default().insert(target.to_vec());
        }
    }
    imports
}

/// The sets of modules of which each leads to each other.
fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<String>> {
    let reached = |from: &Module| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(module) = next.pop() {
            for to in imports.get(module).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        imports.keys().map(|module| (module, reached(module))).collect();
    let name = |module: &Module| {
        if module.is_empty() { "crate".to_owned() } else { module.join("::") }
    };
    let mut circles = BTreeSet::new();
    for (module, there) in &reached {
        let circle: BTreeSet<String> = there
            .iter()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(*module)))
            .map(name)
            .collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut wrong = String::new();
    for name in CRATES {
        let all = modules(&root.join(name).join("src"));
        assert!(all.len() > 5, "the modules of {name}");
        let imports = imports(&all);
        for circle in circles(&imports) {
            let line = circle.iter().cloned().collect::<Vec<_>>().join(" ");
            wrong += &format!("{name}: {line}\n");
            for (from, to) in &imports {
                let to = to.iter().map(|to| to.join("::"));
                let ends: Vec<_> = to.filter(|to| circle.contains(to.as_str())).collect();
                if circle.contains(&from.join("::")) {
                    wrong += &format!("    {} imports {}\n", from.join("::"), ends.join(", "));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these modules import each other in a circle:\n{wrong}");
}
