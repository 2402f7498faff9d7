//! Circles of files that import each other: none has more than two files.
//!
//! A file imports another file if it names an item that the other file defines, by `use` or by
//! path. A re-exported name (`pub use`) counts as an import of the file that defines it. Tests are
//! left out.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, ItemUse, UseTree};

use crate::tree::{TextFile, text_files};
use crate::{Breach, verdict};

/// The most files of a circle.
const MOST: usize = 2;

/// A module in its own file: the names on its path below the package.
type Module = Vec<String>;

/// A `use`: the path of the item, and its name here.
#[derive(Debug)]
struct Import {
    path: Vec<String>,
    name: String,
}

/// The names in a file.
#[derive(Debug, Default)]
struct Names {
    defined: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths of more than one name, outside `use`.
    paths: Vec<Vec<String>>,
    /// Single names.
    words: BTreeSet<String>,
}

impl Names {
    fn of(file: &File) -> Self {
        let mut names = Self::default();
        names.defined.extend(file.items.iter().filter(|item| !is_test(item)).filter_map(name_of));
        names.visit_file(file);
        names
    }

    fn import(&mut self, path: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.import(path, &part.tree);
                path.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(path, tree)),
            UseTree::Name(name) => {
                self.leaf(path, &name.ident.to_string(), &name.ident.to_string())
            }
            UseTree::Rename(name) => {
                self.leaf(path, &name.ident.to_string(), &name.rename.to_string());
            }
            UseTree::Glob(_) => self.leaf(path, "*", "*"),
        }
    }

    fn leaf(&mut self, path: &[String], last: &str, name: &str) {
        let mut path = path.to_vec();
        if last != "self" {
            path.push(last.to_owned());
        }
        let own =
            if name == "self" { path.last().cloned().unwrap_or_default() } else { name.to_owned() };
        self.imports.push(Import { path, name: own });
    }

    /// Reads paths in the arguments of a macro, which syn does not parse.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 => path.push(ident.to_string()),
                TokenTree::Ident(ident) => {
                    self.end(&mut path);
                    path.push(ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.end(&mut path);
                    self.read_tokens(group.stream());
                }
                _ => self.end(&mut path),
            }
            colons = 0;
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Vec<String>) {
        match path.as_slice() {
            [] => {}
            [word] => _ = self.words.insert(word.clone()),
            _ => self.paths.push(path.clone()),
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        // A re-export uses nothing; the file that imports the name from here uses it.
        self.import(&mut Vec::new(), &import.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut names: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.end(&mut names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.read_tokens(mac.tokens.clone());
        visit::visit_macro(self, mac);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.read_tokens(list.tokens.clone());
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

fn is_test(item: &Item) -> bool {
    attributes(item).iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().contains("test")
        }
        _ => false,
    })
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(it) => &it.ident,
        Item::Enum(it) => &it.ident,
        Item::Fn(it) => &it.sig.ident,
        Item::Macro(it) => it.ident.as_ref()?,
        Item::Mod(it) => &it.ident,
        Item::Static(it) => &it.ident,
        Item::Struct(it) => &it.ident,
        Item::Trait(it) => &it.ident,
        Item::Type(it) => &it.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The files of a package.
struct Package {
    files: BTreeMap<Module, Names>,
}

impl Package {
    /// Reads the files below `folder`, such as `crates/at/src/`.
    fn read(folder: &str, files: &[TextFile]) -> anyhow::Result<Self> {
        let mut package = Self { files: BTreeMap::new() };
        for file in files {
            let Some(module) = file.path.strip_prefix(folder).and_then(module) else { continue };
            let parsed = syn::parse_file(&file.text).with_context(|| file.path.clone())?;
            // In a package with library and program, the library is the root; it comes first.
            package.files.entry(module).or_insert_with(|| Names::of(&parsed));
        }
        Ok(package)
    }

    /// Finds the file that defines the item `path`, as seen from the file `from`.
    fn definer(&self, path: &[String], from: &Module, depth: usize) -> Option<Module> {
        let mut rest = path;
        let mut at = match rest.first()?.as_str() {
            "crate" => Module::new(),
            "self" | "super" => from.clone(),
            first if self.is_child(from, first) => from.clone(),
            first => {
                let import = self.files.get(from)?.imports.iter().find(|it| it.name == first)?;
                let whole: Vec<String> =
                    import.path.iter().chain(rest.get(1..)?).cloned().collect();
                let is_new = import.path.first().is_some_and(|it| it != first);
                return if is_new { self.definer(&whole, from, depth + 1) } else { None };
            }
        };
        while let [first, tail @ ..] = rest {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => _ = at.pop(),
                name if self.is_child(&at, name) => at.push(name.to_owned()),
                _ => break,
            }
            rest = tail;
        }
        let names = self.files.get(&at)?;
        let name = rest.first()?;
        if names.defined.contains(name) || depth > 8 {
            return Some(at);
        }
        let handed_on = names.imports.iter().find(|import| import.name == *name);
        match handed_on {
            Some(import) => self.definer(&import.path, &at, depth + 1),
            None => Some(at),
        }
    }

    fn is_child(&self, module: &Module, name: &str) -> bool {
        let child: Module = module.iter().cloned().chain([name.to_owned()]).collect();
        self.files.contains_key(&child)
    }

    /// Returns the files that each file imports, with the names.
    fn edges(&self) -> Edges<'_> {
        let mut edges = Edges::new();
        for (module, names) in &self.files {
            let used = |name: &String| {
                names.words.contains(name)
                    || names.paths.iter().any(|path| path.first() == Some(name))
            };
            let imports = names.imports.iter().filter(|it| used(&it.name)).map(|it| &it.path);
            for path in imports.chain(&names.paths) {
                let Some(to) = self.definer(path, module, 0) else { continue };
                if let Some((to, _)) = self.files.get_key_value(&to).filter(|(to, _)| *to != module)
                {
                    let name = path.last().cloned().unwrap_or_default();
                    edges.entry(module).or_default().entry(to).or_default().insert(name);
                }
            }
        }
        edges
    }

    /// Returns circles of files, the largest first, each with the names between its files.
    fn circles(&self) -> Vec<(usize, String)> {
        circles(&self.edges())
    }

    /// Returns circles of rooms: the files at the top of a package, each with the folder of its
    /// name.
    fn circles_of_rooms(&self) -> Vec<(usize, String)> {
        let edges = self.edges();
        let rooms: BTreeMap<&Module, Module> = self
            .files
            .keys()
            .map(|module| (module, module.iter().take(1).cloned().collect()))
            .collect();
        let mut between: BTreeMap<&Module, BTreeMap<&Module, BTreeSet<String>>> = BTreeMap::new();
        for (from, all) in &edges {
            for (to, names) in all {
                let (Some(from), Some(to)) = (rooms.get(from), rooms.get(to)) else { continue };
                // The root re-exports items of its rooms.
                if from != to && !from.is_empty() && !to.is_empty() {
                    between.entry(from).or_default().entry(to).or_default().extend(names.clone());
                }
            }
        }
        circles(&between)
    }
}

/// Edges from a module to the modules that it imports, with the names.
type Edges<'a> = BTreeMap<&'a Module, BTreeMap<&'a Module, BTreeSet<String>>>;

/// Returns circles, the largest first, each with the names between its modules.
fn circles(edges: &Edges<'_>) -> Vec<(usize, String)> {
    let mut graph = petgraph::graphmap::DiGraphMap::<&Module, ()>::new();
    for (from, all) in edges {
        for to in all.keys() {
            graph.add_edge(*from, *to, ());
        }
    }
    let mut circles: Vec<(usize, String)> = petgraph::algo::tarjan_scc(&graph)
        .into_iter()
        .filter(|circle| circle.len() > 1)
        .map(|circle| {
            let inside: BTreeSet<&Module> = circle.into_iter().collect();
            (inside.len(), describe(&inside, edges))
        })
        .collect();
    circles.sort_by_key(|(files, _)| usize::MAX - files);
    circles
}

fn describe(inside: &BTreeSet<&Module>, edges: &Edges<'_>) -> String {
    let mut lines = String::new();
    for from in inside {
        let ties = edges.get(from).into_iter().flatten().filter(|(to, _)| inside.contains(*to));
        for (to, names) in ties {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            lines += &format!("    {} -> {}: {}\n", shown(from), shown(to), names.join(", "));
        }
    }
    lines
}

fn shown(module: &Module) -> String {
    if module.is_empty() { "lib".to_owned() } else { module.join("::") }
}

/// Returns the module of a file below `src/`; `None` for tests and programs' mains.
fn module(path: &str) -> Option<Module> {
    let mut parts: Module = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if parts.iter().any(|part| part == "tests") {
        return None;
    }
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] || parts == ["main"] {
        parts.pop();
    }
    Some(parts)
}

/// Returns the `src/` of each package.
fn folders(files: &[TextFile]) -> BTreeSet<String> {
    let sources = files.iter().filter_map(|file| {
        let (package, _) = file.path.split_once("/src/")?;
        let is_ours =
            ["crates/", "profiles/", "xtask", "tests"].iter().any(|it| package.starts_with(it));
        (is_ours && file.path.ends_with(".rs")).then(|| format!("{package}/src/"))
    });
    sources.collect()
}

#[test]
fn no_circle_has_more_than_two_files() -> anyhow::Result<()> {
    let files = text_files()?;
    let mut breaches: Vec<Breach> = Vec::new();
    for folder in folders(&files) {
        for (size, ties) in Package::read(&folder, &files)?.circles() {
            if size > MOST {
                breaches.push(format!(
                    "{folder}: a circle of {size} files: move what they share below them:\n{ties}"
                ));
            }
        }
    }
    verdict(&breaches);
    Ok(())
}

#[test]
fn rooms_are_in_no_circle() -> anyhow::Result<()> {
    let files = text_files()?;
    let mut breaches: Vec<Breach> = Vec::new();
    for folder in folders(&files) {
        for (size, ties) in Package::read(&folder, &files)?.circles_of_rooms() {
            breaches.push(format!(
                "{folder}: a circle of {size} rooms: move what they share into one below them:\n{ties}"
            ));
        }
    }
    verdict(&breaches);
    Ok(())
}

#[test]
fn a_circle_is_seen_through_what_is_handed_on() -> anyhow::Result<()> {
    let file = |path: &str, text: &str| TextFile { path: path.to_owned(), text: text.to_owned() };
    let files = [
        file("crates/x/src/lib.rs", "mod a;\nmod b;\nmod c;\npub use c::Three;\n"),
        file("crates/x/src/a.rs", "use crate::b::Two;\npub struct One(Two);\n"),
        file("crates/x/src/b.rs", "pub struct Two;\nfn f() { let x = vec![crate::Three]; }\n"),
        file("crates/x/src/main.rs", "fn main() {}\n"),
        file("crates/x/src/c.rs", "use super::a;\npub struct Three;\nfn f(x: a::One) {}\n"),
        file(
            "crates/x/src/d.rs",
            "#[cfg(test)]\nmod tests { use crate::a::One; fn f(x: One) {} }\n",
        ),
    ];
    let circles = Package::read("crates/x/src/", &files)?.circles();
    let sizes: Vec<usize> = circles.iter().map(|(size, _)| *size).collect();
    assert_eq!(sizes, [3], "{circles:?}");
    Ok(())
}
