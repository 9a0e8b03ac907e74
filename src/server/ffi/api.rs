//! Macros that call a function of the module API by its pointer.

/// Lists the functions that every supported server has.
macro_rules! required {
    ($($name:ident)*) => {
        /// One constant for each required function, so that `call!` compiles for no other.
        #[allow(missing_docs, non_upper_case_globals)] // the names of the API
        pub mod required {
            $(pub const $name: () = ();)*
        }

        /// The first required function that the server lacks. It is then no server that we support.
        pub fn missing() -> Option<&'static str> {
            $(
                // SAFETY: the pointer is written once, before the load function runs.
                if unsafe { ::redis_module::raw::$name }.is_none() {
                    return Some(stringify!($name));
                }
            )*
            None
        }
    };
}

required! {
    RedisModule_BlockClientOnKeys
    RedisModule_Call
    RedisModule_CallReplyArrayElement
    RedisModule_CallReplyLength
    RedisModule_CallReplyStringPtr
    RedisModule_CallReplyType
    RedisModule_CloseKey
    RedisModule_CommandFilterArgGet
    RedisModule_CommandFilterArgsCount
    RedisModule_CreateCommand
    RedisModule_CreateDataType
    RedisModule_CreateString
    RedisModule_CreateTimer
    RedisModule_DefragAlloc
    RedisModule_DeleteKey
    RedisModule_DigestAddStringBuffer
    RedisModule_DigestEndSequence
    RedisModule_EmitAOF
    RedisModule_Free
    RedisModule_FreeCallReply
    RedisModule_FreeServerInfo
    RedisModule_FreeString
    RedisModule_GetBlockedClientPrivateData
    RedisModule_GetClientId
    RedisModule_GetClientInfoById
    RedisModule_GetContextFlags
    RedisModule_GetExpire
    RedisModule_GetNotifyKeyspaceEvents
    RedisModule_GetSelectedDb
    RedisModule_GetServerInfo
    RedisModule_InfoAddFieldCString
    RedisModule_InfoAddFieldULongLong
    RedisModule_InfoAddSection
    RedisModule_IsKeysPositionRequest
    RedisModule_KeyAtPos
    RedisModule_KeyType
    RedisModule_LoadStringBuffer
    RedisModule_Milliseconds
    RedisModule_ModuleTypeGetType
    RedisModule_ModuleTypeGetValue
    RedisModule_ModuleTypeReplaceValue
    RedisModule_ModuleTypeSetValue
    RedisModule_NotifyKeyspaceEvent
    RedisModule_OpenKey
    RedisModule_RegisterInfoFunc
    RedisModule_Replicate
    RedisModule_ReplicateVerbatim
    RedisModule_ReplyWithArray
    RedisModule_ReplyWithCallReply
    RedisModule_ReplyWithError
    RedisModule_ReplyWithLongLong
    RedisModule_ReplyWithNull
    RedisModule_ReplyWithSimpleString
    RedisModule_ReplyWithStringBuffer
    RedisModule_RetainString
    RedisModule_SaveStringBuffer
    RedisModule_SelectDb
    RedisModule_ServerInfoGetFieldC
    RedisModule_SetExpire
    RedisModule_StopTimer
    RedisModule_StringDMA
    RedisModule_StringPtrLen
    RedisModule_SubscribeToKeyspaceEvents
    RedisModule_SubscribeToServerEvent
    RedisModule_UnblockClient
    RedisModule_WrongArity
}

/// Calls a required function: one that every supported server has (Redis 6.2 and later).
///
/// Expands to an unsafe call: use it inside an `unsafe` block with a SAFETY line. The pointer is
/// there, because the module refuses to load where [`missing`] names a function. What uses it must
/// need something that only a server gives, such as a context.
macro_rules! call {
    ($name:ident ( $($arg:expr),* $(,)? )) => {{
        let () = $crate::server::ffi::api::required::$name;
        (::redis_module::raw::$name.unwrap_unchecked())($($arg),*)
    }};
}
pub(crate) use call;

/// Calls a function that only some servers have. `None` if the server lacks it.
macro_rules! call_if_there {
    ($name:ident ( $($arg:expr),* $(,)? )) => {
        match ::redis_module::raw::$name {
            Some(function) => Some(function($($arg),*)),
            None => None,
        }
    };
}
pub(crate) use call_if_there;

/// A constant of the API, in the type that its functions take.
#[allow(clippy::cast_possible_truncation)] // the header's constants are small
pub const fn constant(value: isize) -> std::ffi::c_int {
    value as std::ffi::c_int
}
