//! RL.POLICY: limits by name and prefix, in the table of this server; and the effect that replicas apply.

use crate::commands::arguments::{BREAKER, LIMITS};
use crate::commands::cursor::ArgCursor;
use crate::commands::hints;
use crate::commands::options::Options;
use crate::core::limits::Label;
use crate::core::policies::{Policies, Policy, PolicyEntry};
use crate::core::text::token::TokenError;
use crate::limiter::Error;
use crate::limiter::policies::gossip::NodeView;
use crate::limiter::policies::{commit, gossip};
use crate::server::context::Context;
use crate::server::effects::replicate;
use crate::server::ffi::args::{Arg, Args};
use crate::server::ffi::reply::{self, Each, List, Reply};
use crate::server::load::argument::Argument;
use crate::server::load::command;
use crate::server::write_check;
use crate::types::effect::policy::PolicyChange;
use crate::types::policies::json::{self, Existing};
use crate::types::policies::node;

/// `RL.POLICY SET | GET | DEL | LIST | EXPORT | IMPORT | FORGET | HELP`
///
/// # Errors
/// Malformed arguments, a policy that does not fit, or a replica to which clients may not write.
pub fn policy(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    let mut cursor = ArgCursor::new(args);
    if cursor.keyword("HELP") {
        help(ctx, &mut cursor)
    } else {
        cursor.choice(SUBCOMMANDS)?(ctx, &mut cursor)
    }
}

type PolicySubcommand = fn(&Context<'_>, &mut ArgCursor<'_>) -> Result<(), Error>;

const SUBCOMMANDS: &[(&str, PolicySubcommand)] = &[
    ("SET", set),
    ("GET", get),
    ("DEL", delete),
    ("LIST", list),
    ("EXPORT", export),
    ("IMPORT", import),
    ("FORGET", forget),
];

const NAME: Argument = Argument::text("name");
/// `[PREFIX prefix | NOPREFIX] [BREAKER breaker | NOBREAKER]` of SET.
const SET_OPTIONS: &[Argument] = &[PREFIX, OR_BREAKER];
const PREFIX: Argument =
    Argument::one_of("prefix", &[Argument::text("prefix").after("PREFIX"), Argument::flag("NOPREFIX")])
        .optional();
const OR_BREAKER: Argument =
    Argument::one_of("breaker", &[BREAKER.after("BREAKER"), Argument::flag("NOBREAKER")]).optional();
const REPLACE: Argument = Argument::flag("REPLACE").optional();
/// The subcommands with their arguments.
pub const ARGUMENTS: &[Argument] = &[
    Argument::group("set", &[Argument::flag("SET"), NAME, LIMITS, PREFIX, OR_BREAKER]),
    Argument::group("get", &[Argument::flag("GET"), NAME]),
    Argument::group("del", &[Argument::flag("DEL"), NAME]),
    Argument::flag("LIST"),
    Argument::flag("EXPORT"),
    Argument::group("import", &[Argument::flag("IMPORT"), Argument::text("json"), REPLACE]),
    Argument::flag("FORGET"),
    Argument::flag("HELP"),
];

/// The part of RL.POLICY SET that is about the prefix or the breaker.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    /// The command does not mention the part, so the policy keeps what it has.
    Kept,
    /// The command gives the policy this prefix or breaker.
    Given(&'a [u8]),
    /// The command removes the prefix or the breaker from the policy.
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

fn set(ctx: &Context<'_>, cursor: &mut ArgCursor<'_>) -> Result<(), Error> {
    let name = cursor.required()?;
    let limits = cursor.required_before(const { &Options::of(SET_OPTIONS) }, "limits")?;
    let (mut prefix, mut breaker) = (Part::Kept, Part::Kept);
    while let Some((option, value)) = cursor.option(const { &Options::of(SET_OPTIONS) })? {
        match option {
            "PREFIX" => prefix = Part::Given(value.bytes()),
            "BREAKER" => breaker = Part::Given(value.bytes()),
            "NOPREFIX" => prefix = Part::Taken,
            "NOBREAKER" => breaker = Part::Taken,
            _ => return Err(hints::not_taken(option)),
        }
    }
    let mut policy = Policy::parse(name.bytes(), limits.bytes(), prefix.given(), breaker.given())
        .map_err(|refused| Error::Other(refused.to_string()))?;
    let unchanged = node::with_policies(ctx.main(), |policies| {
        let Some(there) = policies.get(&policy.name) else { return false };
        if matches!(breaker, Part::Kept) {
            policy.breaker.clone_from(&there.breaker);
        }
        if matches!(prefix, Part::Kept) {
            // A prefix that a later policy has is kept only if nothing changes. The policy gets it
            // back when the later one is deleted.
            policy.prefix.clone_from(&there.prefix);
            if policy == *there {
                return true;
            }
            policy.prefix = policies.prefix_of(there).map(Into::into);
        }
        false
    });
    may_grow(ctx)?;
    let refused =
        node::with_policies(ctx.main(), |policies| policies.check(std::slice::from_ref(&policy)).err());
    match refused {
        _ if unchanged => {}
        Some((_, refused)) => return Err(Error::Other(refused.to_string())),
        None => set_all(ctx, vec![policy])?,
    }
    reply::ok(ctx);
    Ok(())
}

fn get(ctx: &Context<'_>, cursor: &mut ArgCursor<'_>) -> Result<(), Error> {
    let name = label(cursor.required()?)?;
    cursor.end()?;
    node::with_policies(ctx.main(), |policies| match policies.get(&name) {
        Some(policy) => send(ctx, policies, policy),
        None => reply::null(ctx),
    });
    Ok(())
}

fn delete(ctx: &Context<'_>, cursor: &mut ArgCursor<'_>) -> Result<(), Error> {
    let name = label(cursor.required()?)?;
    cursor.end()?;
    may_write(ctx)?;
    let there = node::with_policies(ctx.main(), |policies| policies.get(&name).is_some());
    if there {
        let by = commit::changed_by(ctx);
        let entry = node::with_policies(ctx.main(), |policies| policies.to_delete(name, by));
        change(ctx, vec![entry])?;
    }
    reply::integer(ctx, there.into());
    Ok(())
}

fn list(ctx: &Context<'_>, cursor: &mut ArgCursor<'_>) -> Result<(), Error> {
    cursor.end()?;
    let digest = node::digest(ctx.main());
    let nodes = gossip::nodes(ctx);
    node::with_policies(ctx.main(), |policies| {
        let all: Vec<&Policy> = policies.iter().collect();
        let all = Each(&all, |ctx: &Context<'_>, policy: &&Policy| send(ctx, policies, policy));
        let own: [(&str, &dyn Reply); 3] =
            [("version", &policies.version()), ("digest", &digest), ("policies", &all)];
        let cluster: [(&str, &dyn Reply); 1] = [("nodes", &Each(&nodes, send_node))];
        // Outside a cluster there are no nodes to show.
        let cluster = if nodes.is_empty() { &[][..] } else { &cluster };
        reply::map(ctx, &[&own, cluster].concat());
    });
    Ok(())
}

/// Sends a node of the cluster as LIST shows it.
fn send_node(ctx: &Context<'_>, view: &NodeView) {
    reply::map(
        ctx,
        &[
            ("id", &view.id.to_string()),
            ("version", &view.said.map(|(version, _)| version)),
            ("digest", &view.said.map(|(_, digest)| node::shown_digest(digest))),
            ("agrees", &view.agrees),
        ],
    );
}

/// `RL.POLICY HELP`: sends the syntax and the summary of each subcommand.
fn help(ctx: &Context<'_>, cursor: &mut ArgCursor<'_>) -> Result<(), Error> {
    cursor.end()?;
    let row = command::registered().iter().find(|row| row.name == "RL.POLICY").ok_or(Error::Arity)?;
    List(&row.subcommand_lines()).send(ctx);
    Ok(())
}

fn export(ctx: &Context<'_>, cursor: &mut ArgCursor<'_>) -> Result<(), Error> {
    cursor.end()?;
    let text =
        node::with_policies(ctx.main(), json::export).map_err(|error| Error::Other(error.to_string()))?;
    text.send(ctx);
    Ok(())
}

fn import(ctx: &Context<'_>, cursor: &mut ArgCursor<'_>) -> Result<(), Error> {
    let document = cursor.required()?.bytes();
    let mut existing = Existing::Refused;
    while let Some((option, _)) = cursor.option(const { &Options::of(&[REPLACE]) })? {
        match option {
            "REPLACE" => existing = Existing::Replaced,
            _ => return Err(hints::not_taken(option)),
        }
    }
    may_grow(ctx)?;
    let read = node::with_policies(ctx.main(), |policies| json::import(policies, document, existing))
        .map_err(|unreadable| Error::Other(unreadable.to_string()))?;
    set_all(ctx, read)?;
    reply::ok(ctx);
    Ok(())
}

/// `RL.POLICY FORGET`: leaves the traces of policies out of what this server stores. Replicas have
/// stores of their own, so they allow it, and nothing is replicated.
fn forget(ctx: &Context<'_>, cursor: &mut ArgCursor<'_>) -> Result<(), Error> {
    cursor.end()?;
    if !node::forget_traces(ctx.main()) {
        return Err(Error::Other("there are policies, RL.POLICY DEL deletes each".to_owned()));
    }
    reply::ok(ctx);
    Ok(())
}

/// Sends a policy as GET and LIST show it.
fn send(ctx: &Context<'_>, policies: &Policies, policy: &Policy) {
    reply::map(
        ctx,
        &[
            ("name", &policy.name.as_str()),
            ("limits", &policy.text),
            ("prefix", &policies.prefix_of(policy)),
            ("breaker", &policy.breaker.as_ref().map(|(text, _)| text)),
        ],
    );
}

fn label(arg: Arg<'_>) -> Result<Label, Error> {
    Label::parse(arg.bytes()).map_err(|reason| TokenError::new("policy name", arg.bytes(), reason).into())
}

/// Sets those of these policies that differ from what there is.
fn set_all(ctx: &Context<'_>, wanted: Vec<Policy>) -> Result<(), Error> {
    let by = commit::changed_by(ctx);
    let entries = node::with_policies(ctx.main(), |policies| commit::setting(policies, wanted, by));
    if entries.is_empty() { Ok(()) } else { change(ctx, entries) }
}

/// Makes a change that was checked, and sends it to the other masters of the cluster.
fn change(ctx: &Context<'_>, entries: Vec<PolicyEntry>) -> Result<(), Error> {
    let change = PolicyChange::of(entries);
    commit::commit(ctx, &change)?;
    gossip::broadcast(ctx, &change.entries);
    Ok(())
}

/// Refuses what the server itself would have refused to a write. Before 7.0 it does not count
/// RL.POLICY among writes, because replicas allow looks.
fn may_write(ctx: &Context<'_>) -> Result<(), Error> {
    let flags = ctx.flags();
    if flags.read_only() && !flags.replicated_or_loading() {
        return Err(Error::ReadOnly);
    }
    write_check::refusal(ctx).map_or(Ok(()), |refused| Err(Error::Verbatim(refused)))
}

fn may_grow(ctx: &Context<'_>) -> Result<(), Error> {
    may_write(ctx)?;
    if write_check::is_out_of_memory(ctx) { Err(Error::OutOfMemory) } else { Ok(()) }
}

/// `RL.NODE payload`: applies changes of policies on replicas and from the AOF.
///
/// # Errors
/// The sender is an ordinary client, or the payload does not fit.
pub fn effect(ctx: &Context<'_>, args: Args<'_>) -> Result<(), Error> {
    if !ctx.flags().replicated_or_loading() {
        return Err(Error::Other(
            "RL.NODE carries policies to replicas and the AOF; clients cannot use it".to_owned(),
        ));
    }
    let mut cursor = ArgCursor::new(args);
    let payload = cursor.required()?;
    cursor.end()?;
    node::apply(ctx.main(), payload.bytes()).map_err(|corrupt| Error::Other(corrupt.to_string()))?;
    replicate::verbatim(ctx);
    reply::ok(ctx);
    Ok(())
}
