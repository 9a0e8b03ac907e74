//! RL.POLICY: limits by name and prefix, kept by the node.
//!
//! | file | idea |
//! |---|---|
//! | this one | the command, and the effect that replicas apply |
//! | [`commit`] | making a change, whoever asked for it |
//! | [`difference`] | which policies would be others than they are |
//! | [`spread`] | masters of a cluster tell each other |
//! | [`mod@file`] | policies that come with the server's configuration |

pub mod commit;
pub mod difference;
pub mod file;
pub mod spread;

use self::spread::NodeView;
use super::way_out;
use crate::commands::arguments::ArgCursor;
use crate::core::limits::Label;
use crate::core::policies::{Policies, Policy, PolicyEntry};
use crate::core::text::token::TokenError;
use crate::limiter::Error;
use crate::limiter::reply::signed;
use crate::server::context::Context;
use crate::server::door;
use crate::server::effects::replicate;
use crate::server::events::{Event, EventListener};
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply;
use crate::server::load::command;
use crate::server::timing::timer;
use crate::types::effect::policy::{COMMAND, PolicyChange};
use crate::types::policies::{json, node};

/// `RL.POLICY SET | GET | DEL | LIST | EXPORT | IMPORT | HELP`
///
/// # Errors
/// Malformed arguments, a policy that does not fit, or a replica that clients
/// may not write to.
pub fn policy(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut walk = ArgCursor::new(args);
    let what = walk.required()?;
    if what.is("SET") {
        set(ctx, &mut walk)
    } else if what.is("GET") {
        get(ctx, &mut walk)
    } else if what.is("DEL") {
        delete(ctx, &mut walk)
    } else if what.is("LIST") {
        list(ctx, walk)
    } else if what.is("EXPORT") {
        export(ctx, walk)
    } else if what.is("IMPORT") {
        import(ctx, &mut walk)
    } else if what.is("HELP") {
        help(ctx, walk)
    } else {
        Err(way_out::none_of(what, "SET, GET, DEL, LIST, EXPORT or IMPORT"))
    }
}

/// What RL.POLICY SET says of the prefix or the breaker.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    /// Nothing: what the policy has stays.
    Kept,
    /// This one.
    Given(&'a [u8]),
    /// None.
    Taken,
}

impl<'a> Part<'a> {
    const fn given(self) -> Option<&'a [u8]> {
        match self {
            Self::Given(text) => Some(text),
            Self::Kept | Self::Taken => None,
        }
    }
}

fn set(ctx: &Context<'_>, walk: &mut ArgCursor<'_>) -> Result<(), Error> {
    let (name, limits) = (walk.required()?, walk.required()?);
    let (mut prefix, mut breaker) = (Part::Kept, Part::Kept);
    while let Some(option) = walk.option(&["PREFIX", "BREAKER", "NOPREFIX", "NOBREAKER"])? {
        let (part, other, new) = match option {
            "PREFIX" => (&mut prefix, "NOPREFIX", Part::Given(walk.value_of(option)?.bytes())),
            "BREAKER" => (&mut breaker, "NOBREAKER", Part::Given(walk.value_of(option)?.bytes())),
            "NOPREFIX" => (&mut prefix, "PREFIX", Part::Taken),
            _ => (&mut breaker, "BREAKER", Part::Taken),
        };
        if !matches!(part, Part::Kept) {
            return Err(Error::Usage(format!("syntax error: {option} and {other} exclude each other")));
        }
        *part = new;
    }
    let mut policy = Policy::parse(name.bytes(), limits.bytes(), prefix.given(), breaker.given())
        .map_err(|refused| Error::Other(refused.to_string()))?;
    let unchanged = node::look(ctx.main(), |policies| {
        let Some(there) = policies.get(&policy.name) else { return false };
        if matches!(breaker, Part::Kept) {
            policy.breaker.clone_from(&there.breaker);
        }
        if matches!(prefix, Part::Kept) {
            // One that a later policy has is kept only where nothing changes: it comes
            // back when that goes.
            policy.prefix.clone_from(&there.prefix);
            if policy == *there {
                return true;
            }
            policy.prefix = policies.prefix_of(there).map(Into::into);
        }
        false
    });
    may_grow(ctx)?;
    let refused = node::look(ctx.main(), |policies| policies.check(std::slice::from_ref(&policy)).err());
    match refused {
        _ if unchanged => {}
        Some((_, refused)) => return Err(Error::Other(refused.to_string())),
        None => {
            let others = node::look(ctx.main(), |policies| difference::others(policies, vec![policy]));
            if !others.is_empty() {
                change(ctx, commit::setting(ctx, others))?;
            }
        }
    }
    reply::ok(ctx);
    Ok(())
}

fn get(ctx: &Context<'_>, walk: &mut ArgCursor<'_>) -> Result<(), Error> {
    let name = label(walk.required()?)?;
    walk.end()?;
    node::look(ctx.main(), |policies| match policies.get(&name) {
        Some(policy) => send(ctx, policies, policy),
        None => reply::null(ctx),
    });
    Ok(())
}

fn delete(ctx: &Context<'_>, walk: &mut ArgCursor<'_>) -> Result<(), Error> {
    let name = label(walk.required()?)?;
    walk.end()?;
    may_write(ctx)?;
    let there = node::look(ctx.main(), |policies| policies.get(&name).is_some());
    if there {
        let by = commit::changed_by(ctx);
        let entry = node::look(ctx.main(), |policies| policies.to_delete(name, by));
        change(ctx, vec![entry])?;
    }
    reply::integer(ctx, there.into());
    Ok(())
}

fn list(ctx: &Context<'_>, walk: ArgCursor<'_>) -> Result<(), Error> {
    walk.end()?;
    let digest = node::digest(ctx.main());
    let nodes = spread::nodes(ctx);
    node::look(ctx.main(), |policies| {
        // Outside of clusters there are no nodes to tell of.
        reply::map(ctx, if nodes.is_empty() { 3 } else { 4 });
        reply::text(ctx, "version");
        reply::integer(ctx, signed(policies.version()));
        reply::text(ctx, "digest");
        reply::text(ctx, &digest);
        reply::text(ctx, "policies");
        reply::array(ctx, policies.len());
        policies.iter().for_each(|policy| send(ctx, policies, policy));
    });
    if !nodes.is_empty() {
        reply::text(ctx, "nodes");
        reply::array(ctx, nodes.len());
        for node in &nodes {
            send_node(ctx, node);
        }
    }
    Ok(())
}

/// A node of the cluster as LIST shows it.
fn send_node(ctx: &Context<'_>, view: &NodeView) {
    reply::map(ctx, 4);
    reply::text(ctx, "id");
    reply::text(ctx, &view.id.to_string());
    reply::text(ctx, "version");
    match view.said {
        Some((version, _)) => reply::integer(ctx, signed(version)),
        None => reply::null(ctx),
    }
    reply::text(ctx, "digest");
    match view.said {
        Some((_, digest)) => reply::text(ctx, &node::shown_digest(digest)),
        None => reply::null(ctx),
    }
    reply::text(ctx, "agrees");
    reply::integer(ctx, view.agrees.into());
}

/// `RL.POLICY HELP`: the syntax and the summary of each subcommand.
fn help(ctx: &Context<'_>, walk: ArgCursor<'_>) -> Result<(), Error> {
    walk.end()?;
    let row = command::registered().iter().find(|row| row.name == "RL.POLICY").ok_or(Error::Arity)?;
    let lines = row.subcommand_lines();
    reply::array(ctx, lines.len());
    for line in &lines {
        reply::text(ctx, line);
    }
    Ok(())
}

fn export(ctx: &Context<'_>, walk: ArgCursor<'_>) -> Result<(), Error> {
    walk.end()?;
    let text = node::look(ctx.main(), json::export).map_err(|error| Error::Other(error.to_string()))?;
    reply::text(ctx, &text);
    Ok(())
}

fn import(ctx: &Context<'_>, walk: &mut ArgCursor<'_>) -> Result<(), Error> {
    let document = walk.required()?.bytes();
    let replace = walk.keyword("REPLACE");
    walk.end()?;
    may_grow(ctx)?;
    let read = node::look(ctx.main(), |policies| json::import(policies, document, replace))
        .map_err(|unreadable| Error::Other(unreadable.to_string()))?;
    let others = node::look(ctx.main(), |policies| difference::others(policies, read));
    if !others.is_empty() {
        change(ctx, commit::setting(ctx, others))?;
    }
    reply::ok(ctx);
    Ok(())
}

/// One policy as GET and LIST show it.
fn send(ctx: &Context<'_>, policies: &Policies, policy: &Policy) {
    reply::map(ctx, 4);
    reply::text(ctx, "name");
    reply::text(ctx, policy.name.as_str());
    reply::text(ctx, "limits");
    reply::text(ctx, &policy.text);
    reply::text(ctx, "prefix");
    match policies.prefix_of(policy) {
        Some(prefix) => reply::bytes(ctx, prefix),
        None => reply::null(ctx),
    }
    reply::text(ctx, "breaker");
    match &policy.breaker {
        Some((text, _)) => reply::text(ctx, text),
        None => reply::null(ctx),
    }
}

fn label(arg: Arg<'_>) -> Result<Label, Error> {
    Label::parse(arg.bytes()).map_err(|reason| TokenError::new("policy name", arg.bytes(), reason).into())
}

/// Makes a change that was checked, and tells the other masters of a cluster.
fn change(ctx: &Context<'_>, entries: Vec<PolicyEntry>) -> Result<(), Error> {
    let change = PolicyChange::of(entries);
    commit::commit(ctx, &change)?;
    spread::tell(ctx, &change.entries);
    Ok(())
}

/// Before 7.0 the server does not count RL.POLICY among writes, since looking is for
/// replicas too; so what it would have refused is refused here.
fn may_write(ctx: &Context<'_>) -> Result<(), Error> {
    let flags = ctx.flags();
    if flags.read_only() && !flags.replicated_or_loading() {
        return Err(Error::ReadOnly);
    }
    door::refusal(ctx).map_or(Ok(()), |refused| Err(Error::Verbatim(refused)))
}

fn may_grow(ctx: &Context<'_>) -> Result<(), Error> {
    may_write(ctx)?;
    if door::is_out_of_memory(ctx) { Err(Error::OutOfMemory) } else { Ok(()) }
}

/// `RL.NODE payload`: how changes of policies reach replicas and come back from
/// the AOF.
///
/// # Errors
/// An ordinary client, or a payload that does not fit.
pub fn effect(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    if !ctx.flags().replicated_or_loading() {
        return Err(Error::Other(
            "RL.NODE carries policies to replicas and the AOF; clients cannot use it".to_owned(),
        ));
    }
    let mut walk = ArgCursor::new(args);
    let payload = walk.required()?;
    walk.end()?;
    node::apply(ctx.main(), payload.bytes()).map_err(|corrupt| Error::Other(corrupt.to_string()))?;
    replicate::verbatim(ctx);
    reply::ok(ctx);
    Ok(())
}

/// What policies must hear of: a dataset that is loaded brings its own, or none.
pub const LISTENERS: &[EventListener] = &[
    (Event::LoadBegins, |ctx| node::load_begins(ctx.main())),
    (Event::LoadEnded, |ctx| node::load_ended(ctx.main(), true)),
    (Event::LoadFailed, |ctx| node::load_ended(ctx.main(), false)),
    (Event::Forked, forked),
];

/// A child was forked. One that rewrites the AOF without an RDB preamble writes the
/// policies beside the first key of ours (see `server::keys::data_type`); where there is
/// none it writes nothing of them, so they go into what follows its part as well. There
/// they do no harm when they stand twice; and other children need nothing, so that an
/// idle server which saves has nothing to save again.
///
/// Not at once: the server would take what is propagated now for an effect of
/// the command that forked, and propagate BGREWRITEAOF itself.
fn forked(ctx: &Context<'_>) {
    let rewrites = || ctx.server_number(c"persistence", c"aof_rewrite_in_progress") == Some(1);
    let preamble = || ctx.server_setting(c"aof-use-rdb-preamble").as_deref() == Some("yes");
    if node::save(ctx.main()).is_some() && rewrites() && !preamble() {
        timer::after(ctx, 0, repeat);
    }
}

fn repeat(ctx: &Context<'_>) {
    const PATIENCE_MS: i64 = 5;
    if ctx.must_not_propagate() {
        timer::after(ctx, PATIENCE_MS, repeat);
    } else if let Some(payload) = node::save(ctx.main()) {
        replicate::to_aof_only(ctx, COMMAND, &[&payload]);
    }
}
