//! How parsers take the options of a command.

use crate::sources::sources;
use syn::visit::{self, Visit};

/// Whether the code behind `body` names the function `name`.
fn calls(body: &syn::Expr, name: &str) -> bool {
    struct Named<'n> {
        name: &'n str,
        found: bool,
    }
    impl<'ast> Visit<'ast> for Named<'_> {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            self.found |= path.segments.last().is_some_and(|last| last.ident == self.name);
            visit::visit_path(self, path);
        }
    }
    let mut named = Named { name, found: false };
    named.visit_expr(body);
    named.found
}

/// Whether an expression asks a cursor for its next option.
fn asks_for_an_option(condition: &syn::Expr) -> bool {
    struct Asks(bool);
    impl<'ast> Visit<'ast> for Asks {
        fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
            self.0 |= call.method == "option";
            visit::visit_expr_method_call(self, call);
        }
    }
    let mut asks = Asks(false);
    asks.visit_expr(condition);
    asks.0
}

/// Whether a statement matches an option against its names, and refuses the others.
fn refuses_others(statement: &syn::Stmt) -> bool {
    let syn::Stmt::Expr(syn::Expr::Match(choice), _) = statement else { return false };
    let refuses = |arm: &syn::Arm| matches!(arm.pat, syn::Pat::Wild(_)) && calls(&arm.body, "not_taken");
    matches!(&*choice.expr, syn::Expr::Path(path) if path.path.is_ident("option"))
        && choice.arms.iter().any(refuses)
}

/// The loops of a file over options, and those of them that take whatever is left.
#[derive(Default)]
struct Loops {
    met: usize,
    wrong: usize,
}

impl<'ast> Visit<'ast> for Loops {
    fn visit_expr_while(&mut self, over: &'ast syn::ExprWhile) {
        if asks_for_an_option(&over.cond) {
            self.met += 1;
            self.wrong += usize::from(!over.body.stmts.iter().any(refuses_others));
        }
        visit::visit_expr_while(self, over);
    }
}

/// An option that the table of a command lists and its parser forgets must not be
/// taken for another one: each loop over the options names those that it takes, and
/// refuses the others.
#[test]
fn a_forgotten_option_is_no_other_option() {
    let (mut met, mut wrong) = (0, Vec::new());
    for file in sources().iter().filter(|file| file.module.first().is_some_and(|top| top == "commands")) {
        let mut loops = Loops::default();
        loops.visit_file(&file.syntax);
        met += loops.met;
        if loops.wrong > 0 {
            wrong.push(file.path.clone());
        }
    }
    assert!(met > 15, "only {met} loops over options were found");
    assert!(wrong.is_empty(), "these loops take a forgotten option for another one: {wrong:#?}");
}
