//! Element names and their WBXML tokens: SyncML (code page 0), MetInf (code page 1), and device information, which is a
//! document type of its own.
//!
//! RepPro 1.2.2, MetInf 1.2.2 and DevInf 1.2 as registered; the earlier versions' tables are the same with gaps.

/// An element of SyncML or MetInf, for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub name: &'static str,
    /// Its code page: 0 SyncML, 1 MetInf.
    pub page: u8,
    /// Its token, without flags.
    pub token: u8,
}

/// Declares each element as a constant, and their names in the order of their tokens, the first of which is 5.
macro_rules! page {
    ($page:literal, $names:ident: $($constant:ident $token:literal $name:literal)*) => {
        $(
            #[doc = concat!("`", $name, "`.")]
            pub const $constant: Element = Element { name: $name, page: $page, token: $token };
        )*
        static $names: &[&str] = &{
            let mut names = [""; LAST_TOKEN - FIRST_TOKEN + 1];
            $(names[$token - FIRST_TOKEN] = $name;)*
            names
        };
    };
}

const FIRST_TOKEN: usize = 0x05;
const LAST_TOKEN: usize = 0x3f;

page! { 0, SYNCML_NAMES:
    ADD 0x05 "Add"
    ALERT 0x06 "Alert"
    ARCHIVE 0x07 "Archive"
    ATOMIC 0x08 "Atomic"
    CHAL 0x09 "Chal"
    CMD 0x0a "Cmd"
    CMD_ID 0x0b "CmdID"
    CMD_REF 0x0c "CmdRef"
    COPY 0x0d "Copy"
    CRED 0x0e "Cred"
    DATA 0x0f "Data"
    DELETE 0x10 "Delete"
    EXEC 0x11 "Exec"
    FINAL 0x12 "Final"
    GET 0x13 "Get"
    ITEM 0x14 "Item"
    LANG 0x15 "Lang"
    LOC_NAME 0x16 "LocName"
    LOC_URI 0x17 "LocURI"
    MAP 0x18 "Map"
    MAP_ITEM 0x19 "MapItem"
    META 0x1a "Meta"
    MSG_ID 0x1b "MsgID"
    MSG_REF 0x1c "MsgRef"
    NO_RESP 0x1d "NoResp"
    NO_RESULTS 0x1e "NoResults"
    PUT 0x1f "Put"
    REPLACE 0x20 "Replace"
    RESP_URI 0x21 "RespURI"
    RESULTS 0x22 "Results"
    SEARCH 0x23 "Search"
    SEQUENCE 0x24 "Sequence"
    SESSION_ID 0x25 "SessionID"
    SFT_DEL 0x26 "SftDel"
    SOURCE 0x27 "Source"
    SOURCE_REF 0x28 "SourceRef"
    STATUS 0x29 "Status"
    SYNC 0x2a "Sync"
    SYNC_BODY 0x2b "SyncBody"
    SYNC_HDR 0x2c "SyncHdr"
    SYNC_ML 0x2d "SyncML"
    TARGET 0x2e "Target"
    TARGET_REF 0x2f "TargetRef"
    VER_DTD 0x31 "VerDTD"
    VER_PROTO 0x32 "VerProto"
    NUMBER_OF_CHANGES 0x33 "NumberOfChanges"
    MORE_DATA 0x34 "MoreData"
    FIELD 0x35 "Field"
    FILTER 0x36 "Filter"
    RECORD 0x37 "Record"
    FILTER_TYPE 0x38 "FilterType"
    SOURCE_PARENT 0x39 "SourceParent"
    TARGET_PARENT 0x3a "TargetParent"
    MOVE 0x3b "Move"
    CORRELATOR 0x3c "Correlator"
}

page! { 1, METINF_NAMES:
    ANCHOR 0x05 "Anchor"
    EMI 0x06 "EMI"
    FORMAT 0x07 "Format"
    FREE_ID 0x08 "FreeID"
    FREE_MEM 0x09 "FreeMem"
    LAST 0x0a "Last"
    MARK 0x0b "Mark"
    MAX_MSG_SIZE 0x0c "MaxMsgSize"
    MEM 0x0d "Mem"
    MET_INF 0x0e "MetInf"
    NEXT 0x0f "Next"
    NEXT_NONCE 0x10 "NextNonce"
    SHARED_MEM 0x11 "SharedMem"
    SIZE 0x12 "Size"
    TYPE 0x13 "Type"
    VERSION 0x14 "Version"
    MAX_OBJ_SIZE 0x15 "MaxObjSize"
    FIELD_LEVEL 0x16 "FieldLevel"
}

/// Device information, by token from 0x05 on. 0x1C is Size before version 1.2.
static DEVINF_NAMES: &[&str] = &[
    "CTCap",
    "CTType",
    "DataStore",
    "DataType",
    "DevID",
    "DevInf",
    "DevTyp",
    "DisplayName",
    "DSMem",
    "Ext",
    "FwV",
    "HwV",
    "Man",
    "MaxGUIDSize",
    "MaxID",
    "MaxMem",
    "Mod",
    "OEM",
    "ParamName",
    "PropName",
    "Rx",
    "Rx-Pref",
    "SharedMem",
    "MaxSize",
    "SourceRef",
    "SwV",
    "SyncCap",
    "SyncType",
    "Tx",
    "Tx-Pref",
    "ValEnum",
    "VerCT",
    "VerDTD",
    "XNam",
    "XVal",
    "UTC",
    "SupportNumberOfChanges",
    "SupportLargeObjs",
    "Property",
    "PropParam",
    "MaxOccur",
    "NoTruncate",
    "",
    "Filter-Rx",
    "FilterCap",
    "FilterKeyword",
    "FieldLevel",
    "SupportHierarchicalSync",
];

/// Which tables name the tokens of a WBXML document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vocabulary {
    /// SyncML on code page 0, MetInf on code page 1.
    #[default]
    SyncMl,
    /// Device information on code page 0.
    DevInf,
}

impl Vocabulary {
    /// The name of a tag token, without flags; empty if there is none.
    #[inline]
    pub fn name(self, page: u8, token: u8) -> &'static [u8] {
        let names = match (self, page) {
            (Self::SyncMl, 0) => SYNCML_NAMES,
            (Self::SyncMl, 1) => METINF_NAMES,
            (Self::DevInf, 0) => DEVINF_NAMES,
            _ => return b"",
        };
        usize::from(token)
            .checked_sub(FIRST_TOKEN)
            .and_then(|index| names.get(index))
            .map_or(b"", |name| name.as_bytes())
    }
}
