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

/// An option that the table of a command lists and its parser forgets must not be
/// taken for another one: each loop over the options names those that it takes, and
/// refuses the others.
#[test]
fn a_forgotten_option_is_no_other_option() {
    #[derive(Default)]
    struct Loops {
        met: usize,
        wrong: Vec<String>,
    }
    /// Whether the loop asks a cursor for its next option.
    struct Asks(bool);
    impl<'ast> Visit<'ast> for Asks {
        fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
            self.0 |= call.method == "option";
            visit::visit_expr_method_call(self, call);
        }
    }
    impl<'ast> Visit<'ast> for Loops {
        fn visit_expr_while(&mut self, over: &'ast syn::ExprWhile) {
            let mut asks = Asks(false);
            asks.visit_expr(&over.cond);
            if asks.0 {
                self.met += 1;
                let refuses =
                    |arm: &syn::Arm| matches!(arm.pat, syn::Pat::Wild(_)) && calls(&arm.body, "not_taken");
                let right = over.body.stmts.iter().any(|statement| match statement {
                    syn::Stmt::Expr(syn::Expr::Match(choice), _) => {
                        matches!(&*choice.expr, syn::Expr::Path(path) if path.path.is_ident("option"))
                            && choice.arms.iter().any(refuses)
                    }
                    _ => false,
                });
                if !right {
                    self.wrong.push(String::new());
                }
            }
            visit::visit_expr_while(self, over);
        }
    }
    let mut all = Loops::default();
    for file in sources().iter().filter(|file| file.module.first().is_some_and(|top| top == "commands")) {
        let before = all.wrong.len();
        all.visit_file(&file.syntax);
        all.wrong[before..].iter_mut().for_each(|wrong| *wrong = file.path.display().to_string());
    }
    assert!(all.met > 15, "only {} loops over options were found", all.met);
    assert!(all.wrong.is_empty(), "these loops take a forgotten option for another one: {:#?}", all.wrong);
}
