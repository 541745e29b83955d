//! Every bound has its name here, with its reason, and how bounds relate is asserted.

use std::time::Duration;

/// Longest object key, bytes of UTF-8. Source: S3 user guide, "Naming objects".
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest policy of an access key. Source: IAM user guide, "IAM and AWS STS quotas", of managed
/// policies.
pub const KEY_POLICY_BYTES_MAX: usize = 6144;

/// Buckets that one access key can have roles in.
pub const KEY_ROLES_MAX: usize = 256;

/// How long a token of the admin API may be good.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Requests that wait for a listener of the live log; a slower one misses lines.
pub const FEED_WAITING_MAX: usize = 1024;

/// Policies of access keys that are kept parsed.
pub const POLICIES_CACHED_MAX: u64 = 1024;

/// Longest bucket policy. Source: S3 user guide, "Bucket policies".
pub const POLICY_BYTES_MAX: usize = 20 << 10;

/// Longest `x-amz-website-redirect-location`. Source: S3 user guide, "Configuring a webpage
/// redirect".
pub const REDIRECT_BYTES_MAX: usize = 2048;

/// Access logs: lines of all buckets that wait for their delivery.
pub const LOG_WAITING_BYTES_MAX: usize = 32 << 20;

/// Lines are delivered after this time or this many bytes of a bucket, unless set otherwise.
pub const LOG_EVERY_DEFAULT: Duration = Duration::from_secs(300);
pub const LOG_OBJECT_BYTES_DEFAULT: u64 = 1 << 20;

/// Between two looks at what is due.
pub const LOG_LOOK_EVERY: Duration = Duration::from_secs(5);

/// Longest prefix of log objects: owner, region, bucket, day, time and a unique end come after it.
pub const LOG_PREFIX_BYTES_MAX: usize = KEY_BYTES_MAX - 256;

/// A chunk: the unit of hashing, caching and fetching.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Bodies up to this ride in their row by default, to every allowed region.
pub const RIDING_BYTES_DEFAULT: u32 = 4 << 10;

/// The most a bucket may set as riding size.
pub const RIDING_BYTES_MAX: u32 = 64 << 10;

/// Bodies up to this are in the change frame itself: one frame, one sync.
pub const INLINE_BYTES_MAX: usize = 64 << 10;

/// Blobs up to this lie in segments; larger ones are files (as fast from here up, and deleting one
/// gives its space back).
pub const SEGMENT_BLOB_BYTES_MAX: usize = 256 << 10;

/// Size of a segment file.
pub const SEGMENT_BYTES: u64 = 256 << 20;

/// A durable index commit is made after this time, this much log or this many changes.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);
pub const CHECKPOINT_LOG_BYTES: u64 = 256 << 20;
pub const CHECKPOINT_CHANGES: u64 = 100_000;

/// What is read of an index to open it is written down a second time up to so many bytes: its list of
/// free pages is about an 8,000th of it.
pub const INDEX_ROOTS_BYTES_MAX: u64 = 256 << 20;

/// A walk over rows that took this long over its first 64 waits for the disk: in memory they take
/// about a third of it, from a fast disk about twice as long.
pub const READ_AHEAD_AFTER: Duration = Duration::from_micros(250);

/// From so many records on, the index does not fit into memory, replaying a change waits for the
/// disk, and a checkpoint is made after fewer changes: opening takes less than ten seconds.
pub const MANY_RECORDS: u64 = 1_000_000;
pub const CHECKPOINT_CHANGES_OF_MANY: u64 = 30_000;

/// Requests that one group commit gathers at most, and the bytes at which it stops gathering.
pub const COMMIT_BATCH_MAX: usize = 256;
pub const COMMIT_BATCH_BYTES: usize = 8 << 20;

/// Writes waiting for the writer.
pub const WRITE_QUEUE_MAX: usize = 1024;

/// A blob without references is deleted after this long: readers that are under way finish.
pub const BLOB_GRACE: Duration = Duration::from_secs(600);

/// A store is at rest when for this long no more was written to its log than this a second. Then
/// dead bytes of the log are brought below this share of the live ones, at most so many bytes in each
/// window; the segment that is written to ends when as much of it is dead, and more than this part of
/// the size of a segment. Together that is a tenth and that part.
pub const REST_AFTER: Duration = Duration::from_secs(30);
pub const REST_LOG_BYTES_PER_SECOND: u64 = 256 << 10;
pub const REST_DEAD_PERCENT: u64 = 5;
pub const REST_WINDOW: Duration = Duration::from_secs(5);
pub const REST_WINDOW_BYTES: u64 = 64 << 20;
pub const REST_SEGMENT_PARTS: u64 = 16;

/// New bodies are refused at this share of the disk; the rest is for what other regions write, for
/// deletions and for reclaiming.
pub const DISK_FULL_PERCENT: u64 = 95;

/// From here on rows of other regions come without the bodies that ride in them: the last part is for
/// deletions and reclaiming alone.
pub const DISK_RESERVE_PERCENT: u64 = 98;

/// When a client that was told that the disk is full shall come again.
pub const RETRY_WHEN_FULL: Duration = Duration::from_secs(60);

/// What the index could not write for want of room waits in memory, and is tried again this often.
/// Nothing more is committed meanwhile; what waits is the rest of one commit, which redb gathers in
/// half of its cache.
pub const INDEX_WAITING_BYTES_MAX: usize = 256 << 20;
pub const INDEX_ROOM_EVERY: Duration = Duration::from_secs(1);

/// How often it is tried again to read an index that could not be read.
pub const INDEX_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// How often it is tried again to write the index anew where there was no room, or the disk failed.
pub const INDEX_ANEW_EVERY: Duration = Duration::from_secs(30);

/// A disk that has not made a write durable after this does not answer: those who wait are told so,
/// others are refused at once, and the node says that it is not ready, until it goes on.
pub const DISK_PATIENCE: Duration = Duration::from_secs(15);

/// A body that the disk does not give for this long is read elsewhere: a little longer than it takes
/// to tell the disk's trouble.
pub const READ_PATIENCE: Duration = Duration::from_secs(17);

/// The same for the last bytes of a large body, of which up to 64 MiB wait for their sync, beside
/// others.
pub const BODY_SYNC_PATIENCE: Duration = Duration::from_secs(60);

/// Syncs of large bodies at the same time: each keeps a thread, and reads need some too.
pub const BODY_SYNCS_MAX: usize = 64;

/// A node compares its clock with its peers' this often, from so many members on, and takes no plain
/// writes while it is further off than this, milliseconds.
pub const FENCE_INTERVAL: Duration = Duration::from_secs(2);
pub const FENCE_MEMBERS_MIN: usize = 3;
pub const FENCE_MS: u64 = 250;

/// A node that was just started takes no plain writes before its clock was compared, or for so long
/// nobody could be asked.
pub const FENCE_PATIENCE: Duration = Duration::from_secs(5);
/// Between its tries until then.
pub const FENCE_RETRY: Duration = Duration::from_millis(100);

/// Remote stamps further ahead than this are quarantined.
pub const CLOCK_AHEAD_MAX_MS: u64 = 500;
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_millis(CLOCK_AHEAD_MAX_MS);

/// Largest single body: S3's limit for one PUT or one part.
pub const BODY_BYTES_MAX: u64 = 5 << 30;

/// Largest object and its parts. Source: S3 user guide, "multipart upload limits".
pub const OBJECT_BYTES_MAX: u64 = 5 << 40;
pub const PARTS_MAX: u16 = 10_000;
pub const PART_BYTES_MIN: u64 = 5 << 20;

/// Keys in one page of a list, and in one DeleteObjects.
pub const LIST_KEYS_MAX: usize = 1000;
pub const DELETE_KEYS_MAX: usize = 1000;
/// Of a batch, deletes that are decided one by one and at the same time.
pub const DELETES_AT_ONCE: usize = 16;

/// User metadata of an object: names and values together.
pub const USER_META_BYTES_MAX: usize = 2048;

/// Request bodies that are XML (DeleteObjects of 1000 keys of 1024 bytes, escaped; 10,000 parts).
pub const XML_BYTES_MAX: usize = 4 << 20;
pub const XML_DEPTH_MAX: usize = 16;

/// Everything of a form before the bytes of its file: fields, policy, boundaries.
/// Source: S3 API reference, "POST Object".
pub const FORM_HEAD_BYTES_MAX: usize = 20 << 10;

/// Fields of a form, and its boundary (RFC 2046 section 5.1.1).
pub const FORM_FIELDS_MAX: usize = 100;
pub const FORM_BOUNDARY_BYTES_MAX: usize = 70;

/// Request line and headers together.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
pub const HEADERS_MAX: usize = 100;

/// A client that sends nothing of a body for this long is given up.
pub const BODY_IDLE_MAX: Duration = Duration::from_secs(60);

/// After this much waiting for a body, it must have come with at least this many bytes a second.
pub const BODY_RATE_GRACE: Duration = Duration::from_secs(30);
pub const BODY_RATE_MIN: u64 = 1024;

/// Bodies from this size on are hashed by a task of their own, so many frames ahead.
pub const PIPED_BODY_BYTES_MIN: u64 = 1 << 20;
pub const PIPED_BODY_FRAMES_MAX: usize = 8;

/// A body that nobody wants is read on so far, for clients that look at the answer only after they
/// have sent it.
pub const DRAIN_BYTES_MAX: u64 = 64 << 20;
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Weight of the requests that a node serves at the same time: about 4000 streamed bodies.
pub const REQUESTS_WEIGHT_MAX: usize = 16_384;

/// A day of lifecycle rules.
pub const LIFECYCLE_DAY: Duration = Duration::from_secs(24 * 3600);

/// One slice of a walk that does what lifecycle rules say: keys that are looked at, keys or uploads
/// that are changed, and the pause after it.
pub const LIFECYCLE_PAGE: usize = 1000;
pub const LIFECYCLE_BATCH: usize = 100;
pub const LIFECYCLE_PAUSE: Duration = Duration::from_millis(20);

/// From the end of such a walk to the next one; after the start of a node, and after a walk that
/// had to leave a bucket early.
pub const LIFECYCLE_INTERVAL: Duration = Duration::from_secs(3600);
pub const LIFECYCLE_FIRST: Duration = Duration::from_secs(60);
pub const LIFECYCLE_RETRY: Duration = Duration::from_secs(300);

/// Buckets whose configuration and settings are kept decoded.
pub const BUCKETS_KNOWN_MAX: usize = 4096;

/// Answers up to this size are read whole before their head is sent.
pub const REPLY_WHOLE_BYTES_MAX: u64 = 64 << 10;

/// Clocks of client and server may differ by this much. Source: S3, RequestTimeTooSkewed.
pub const REQUEST_SKEW_MAX: Duration = Duration::from_secs(15 * 60);

/// Longest life of a presigned URL. Source: S3 user guide.
pub const PRESIGN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A question of one engine to another takes this long at most: what is asked ends with a write.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(15);

/// What is left of a message for everything but a forwarded question.
pub const FORWARD_ENVELOPE_BYTES: usize = 1 << 10;

/// A peer message with its body: a chunk and its envelope.
pub const MESSAGE_BYTES_MAX: usize = CHUNK_BYTES + (64 << 10);

/// A write that `ack` regions have not acknowledged by then is answered 503.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// A follower that hears nothing of a pending row for this long asks its origin.
pub const PENDING_ASK_AFTER: Duration = Duration::from_secs(10);

/// How long bytes are kept that were offered for a value by a region that does not answer any more.
pub const OFFER_KEPT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The miss check: how long a key that is not here may be looked for elsewhere.
pub const MISS_CHECK_TIMEOUT: Duration = Duration::from_millis(250);

/// A version that is asked for by its id and not here is looked for where it was made, if it is not
/// older than this: later it has arrived or was never there.
pub const VERSION_ASKED_AGE_MAX: Duration = Duration::from_secs(3600);

/// Objects of a list that are fetched ahead: of one object, of one list, and lists at a time.
pub const PREFETCH_OBJECT_BYTES_MAX: u64 = 16 << 20;
pub const PREFETCH_BYTES_MAX: u64 = 256 << 20;
pub const PREFETCHES_MAX: usize = 2;

/// Versions whose riding bodies travel with their row, at the bound of one such body.
pub const LOSERS_MAX: usize = 8;

/// How long a bucket keeps losers of concurrent writes where nothing else is set.
pub const UNDO_WINDOW: Duration = Duration::from_secs(24 * 3600);
pub const UNDO_WINDOW_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

/// Days of soft delete. Source: Tigris, "Soft delete".
pub const SOFT_DELETE_DAYS: std::ops::RangeInclusive<u16> = 7..=90;
pub const SOFT_DELETE_DAYS_DEFAULT: u16 = 7;

/// Versions that one key keeps to be brought back; of more the oldest go at once. A row travels
/// whole, so this bounds what a change of it costs.
pub const KEPT_MAX: usize = 64;

/// Losers of concurrent writes among them: a key that several regions write all the time makes one
/// with nearly every write.
pub const LOST_KEPT_MAX: usize = 16;

/// Regions of which a row says what its last writer had seen of them, above what is known to be all
/// there was. Beyond it the oldest are told apart no more: what comes late below them is over.
pub const SEEN_MAX: usize = REGIONS_MAX;

/// How often a region looks up to when it knows what all others wrote.
pub const KNOWN_INTERVAL: Duration = Duration::from_secs(1);

/// Between two looks at what is kept, and the rows of one look.
pub const KEPT_INTERVAL: Duration = Duration::from_secs(30);
pub const KEPT_PAGE: usize = 500;

/// Leaves of the digest tree, two levels of 256.
pub const DIGEST_LEAVES: usize = 65_536;

/// Regions of one cluster: everyone talks to everyone.
pub const REGIONS_MAX: usize = 50;

/// Regions that keep registers, at most.
pub const VOTERS_MAX: usize = 7;

/// An operation on a register that has no outcome by then is answered 503.
pub const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);

/// One question to one voter is waited for this long before the round is given up.
pub const REGISTER_ROUND_TIMEOUT: Duration = Duration::from_secs(2);

/// First and largest pause between attempts; a random share of it is waited.
pub const REGISTER_PAUSE_MIN: Duration = Duration::from_millis(20);
pub const REGISTER_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Deleted buckets whose registers are looked for at once.
pub const GONE_BUCKETS_PAGE: usize = 64;

/// An acceptor that hears no outcome of what it accepted for this long reads the register itself.
pub const REGISTER_SILENCE: Duration = Duration::from_secs(5);

/// Registers that a voter accepted and of which it waits to hear more; beyond, it accepts none.
pub const REGISTERS_OPEN_MAX: usize = 100_000;
/// Names of registers in one answer, and registers that are rewritten at a time, when voters change.
pub const REGISTERS_PAGE: usize = 256;
pub const REWRITES_AT_ONCE: usize = 16;
/// Between two looks at the members: what is decided reaches everyone at once, mostly.
pub const MEMBERS_INTERVAL: Duration = Duration::from_secs(1);
/// Between two questions to one member about who the members are: within this time, and an interval,
/// a region that was cut off while it was removed hears of it.
pub const MEMBERS_ASKED_INTERVAL: Duration = Duration::from_secs(10);
/// Between two passes over everything in a region that is drained.
pub const DRAIN_INTERVAL: Duration = Duration::from_secs(10);
/// A change of voters that is not over after this, once for each reachable member before it by
/// code, is driven by the next member too.
pub const CHANGE_PATIENCE: Duration = Duration::from_secs(10);
/// A change of voters that does not move for this long, because too few of the new ones are there, is
/// given up: the old ones go on alone, and the change begins again when the new ones answer.
pub const CHANGE_GIVEN_UP_AFTER: Duration = Duration::from_secs(30);
/// Members that an operator makes without a majority, and their voters, are so many versions and
/// epochs later: what the lost ones may have decided by themselves never comes to that.
pub const RECOVERY_LEAP: u64 = 1 << 32;
/// Keys of a list that voters have accepted and that no row shows yet: of more the list is answered
/// 503. How many of them are read at a time, how long a list waits for all that, and how often it
/// asks again because the page became longer.
pub const LIST_OPEN_MAX: usize = 1000;
pub const LIST_LOOKS_AT_ONCE: usize = 16;
pub const LIST_FRESH_TIMEOUT: Duration = Duration::from_secs(10);
pub const LIST_FRESH_ROUNDS: usize = 4;

/// How long a request that hands a token back waits for what it names, logs that a token names at
/// most, and its length.
pub const TOKEN_WAIT: Duration = Duration::from_secs(2);
pub const TOKEN_LOGS_MAX: usize = 64;
pub const TOKEN_BYTES_MAX: usize = 2048;

/// How long a change of a bucket's consistency waits until every region follows it, and between two
/// looks at how far they are.
pub const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
pub const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// What is waited for a change that is on its way here, beyond its way, before it is asked for.
pub const REACH_SLACK: Duration = Duration::from_millis(20);
/// The longest that a voter lets the next proposer wait for the offer of the one before, what is
/// added to the round trip for it, and the turns that a voter remembers.
pub const TURN_MAX: Duration = Duration::from_millis(500);
pub const TURN_SLACK: Duration = Duration::from_millis(20);
pub const TURNS_MAX: usize = 10_000;
/// How long a voter that granted a read lease accepts nothing else, and waits after a start where it
/// may have granted before. Below [`REGISTER_ROUND_TIMEOUT`], so that the end of a lease whose holder
/// died comes within one round.
pub const LEASE_TERM: Duration = Duration::from_millis(1500);
/// How far machines' counts of time may be off, in millionths: a hundred times more than a quartz is.
pub const LEASE_RATE_PPM: u32 = 10_000;
/// What a holder leaves of its lease besides.
pub const LEASE_MARGIN: Duration = Duration::from_millis(20);
/// Keys that a node counts strong reads of, and may hold leases of; and keys that a voter grants.
pub const LEASES_MAX: usize = 4096;
pub const LEASE_GRANTS_MAX: usize = 65_536;
/// A lease is asked for by so many strong reads within this; by up to so many where leases were
/// recalled before they had served so many.
pub const LEASE_READS_MIN: u32 = 2;
pub const LEASE_READS_WITHIN: Duration = Duration::from_secs(10);
pub const LEASE_READS_MAX: u32 = 64;
pub const LEASE_READS_WORTH: u32 = 8;
/// A holder that is asked to let go is asked again after this.
pub const LEASE_RECALL_TIMEOUT: Duration = Duration::from_millis(500);
pub const LEASE_RECALL_PAUSE: Duration = Duration::from_millis(100);
/// A ballot that voters promised ahead is used within this, so that no deletion that was dropped
/// since can be missed: they stay far longer.
pub const WARM_BALLOT_KEPT: Duration = Duration::from_secs(600);
/// Such ballots that a node remembers.
pub const WARM_BALLOTS_MAX: usize = 4096;

/// How often every region asks the voters for changes of access keys, and how old the last answer
/// may be before a region counts as cut off from them.
pub const KEYS_ASK_INTERVAL: Duration = Duration::from_secs(1);
pub const KEYS_HEARD_MAX: Duration = Duration::from_secs(5);
/// Changes of keys that a voter remembers for those who ask, and that go in one answer.
pub const KEY_NEWS_MAX: usize = 1024;

/// A bucket that is being deleted for longer than this is set back by whoever meets it.
pub const DELETING_MAX: Duration = Duration::from_secs(60);

/// How long it is believed that a bucket name is free, or that there is no such access key.
pub const ABSENT_KEPT: Duration = Duration::from_secs(1);

/// Names and keys remembered as absent, at most.
pub const ABSENT_MAX: usize = 10_000;

/// A request for a bucket or with an access key that this region does not know waits this long for
/// the registers.
pub const NAME_LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// Positions and bytes of a log that go in one message.
pub const LOG_BATCH_CHANGES: usize = 1000;
pub const LOG_BATCH_BYTES: usize = 512 << 10;

/// Batches to one peer that are under way at a time: one more is built and sent while one is in
/// flight.
pub const LOG_WINDOW: usize = 2;

/// Entries of a log that are kept although every region has them, and at most for regions that are
/// away; beyond that they compare digests.
pub const LOG_KEPT: u64 = 10_000;
pub const LOG_ENTRIES_MAX: u64 = 5_000_000;

/// Logs that a node knows: regions times lives of their disks.
pub const LOGS_MAX: usize = 1000;

/// How often nodes tell each other how far they are, and how long an answer takes at most.
pub const HEADS_INTERVAL: Duration = Duration::from_secs(2);
pub const HEADS_TIMEOUT: Duration = Duration::from_secs(2);

/// After this, what every reachable peer had a moment ago was heard of.
pub const HEADS_SETTLE: Duration = Duration::from_secs(60);

/// A log that does not move, although its region is connected, is pulled from others after this.
pub const PULL_AFTER: Duration = Duration::from_secs(4);

/// One batch, or one question of a comparison.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause before a peer that could not be reached is tried again.
pub const RECONNECT_WAIT: Duration = Duration::from_millis(200);

/// Quarantined positions of one peer that are remembered, so that they are not taken for
/// acknowledgements.
pub const REFUSED_KEPT_MAX: usize = 10_000;

/// Pieces of a body on their way to a follower: size, how many are in flight, and how many wait.
pub const STAGE_PIECE_BYTES: usize = 256 << 10;
pub const STAGE_WINDOW: usize = 16;
pub const STAGE_QUEUE_MAX: usize = 4;

/// Bodies that a follower takes in at a time, and how long one may stand still.
pub const STAGES_MAX: usize = 1024;
pub const STAGE_IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a follower that was asked to hold a body waits for its next piece.
pub const STAGE_STALL_MAX: Duration = Duration::from_secs(10);

/// The round trip that is assumed of a peer that was not measured yet.
pub const RTT_UNKNOWN: Duration = Duration::from_millis(200);

/// A follower or source that shows no progress for three round trips and this is joined by another.
pub const STALL_MARGIN: Duration = Duration::from_millis(100);

/// While a body comes in, a follower that takes none of it for this long is given up. Longer than the
/// margin above, because many bodies share a link: one that is slow but moves must not be begun again
/// elsewhere. A follower that is gone is noticed by its connection.
pub const OUTLET_STALL_MAX: Duration = Duration::from_secs(4);

/// A chunk of 1 MiB may take this long on the wire besides, before another source is asked too.
pub const CHUNK_TRANSFER_SLACK: Duration = Duration::from_millis(300);

/// One chunk from one source.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Chunks of one read that are fetched ahead.
pub const READ_WINDOW: usize = 4;

/// Ended fetches are swept from the table of fetches at this size.
pub const FLIGHTS_SWEPT_AT: usize = 1024;

/// Manifests of blobs that are not here, kept in memory.
pub const MANIFESTS_MAX: usize = 1024;

/// A key that was not found is not looked for elsewhere again for this long; how many such keys.
pub const ABSENCE_KEPT: Duration = Duration::from_secs(1);
pub const ABSENCES_MAX: usize = 65_536;

/// Voters that are asked for a key that is unknown here.
pub const MISS_CHECK_VOTERS: usize = 2;

/// Records in one message.
pub const RECORDS_MAX: usize = 256;

/// Digest trees are compared with every peer this often; records of a leaf in one message.
pub const DIGEST_INTERVAL: Duration = Duration::from_secs(60);
pub const LEAF_PAGE: usize = 2000;

/// Pending and quarantined changes that are looked at together, and how often pending ones are.
pub const PENDING_PAGE: usize = 256;
pub const PENDING_AT_ONCE: usize = 16;
pub const PENDING_INTERVAL: Duration = Duration::from_secs(2);

/// How long it is remembered that a pending change is refused: longer than any message lives.
pub const REFUSAL_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Everything that is held is read again and compared with its checksums within 25 days: a pass
/// begins so long after the one before began, and spreads over that time.
pub const SCRUB_INTERVAL: Duration = Duration::from_secs(20 * 24 * 3600);
pub const SCRUB_INTERVAL_MAX: Duration = Duration::from_secs(25 * 24 * 3600);

/// What a pass reads in a second: at most, unless set otherwise, and at least, so that little does
/// not take long.
pub const SCRUB_RATE_DEFAULT: u64 = 32 << 20;
pub const SCRUB_RATE_MIN: u64 = 64 << 10;

/// Bytes that repair fetches in a second, unless set otherwise: half of a link of 1 Gbit/s.
pub const REPAIR_RATE_DEFAULT: u64 = 60 << 20;

/// Between two looks at whether a pass is due; how often its progress is written.
pub const SCRUB_LOOK_INTERVAL: Duration = Duration::from_secs(60);
pub const SCRUB_NOTE_INTERVAL: Duration = Duration::from_secs(30);

/// Blobs that one step lists, and damaged ones that are mended together.
pub const SCRUB_PAGE: usize = 256;
pub const DAMAGED_PAGE: usize = 256;

/// What is damaged is tried again after this where no region could give it.
pub const MEND_INTERVAL: Duration = Duration::from_secs(10);
pub const MEND_RETRY: Duration = Duration::from_secs(600);

/// Rows that repair looks at in one step, how many of them at a time, and the pause after a step.
pub const REPAIR_PAGE: usize = 512;
pub const REPAIR_AT_ONCE: usize = 32;
pub const REPAIR_PAUSE: Duration = Duration::from_millis(5);

/// Versions with too few copies that are remembered and counted.
pub const BELOW_COPIES_MAX: usize = 100_000;

/// Entries of the log that are counted for how far regions are behind, and the buckets that are told.
pub const LAG_ENTRIES_MAX: usize = 10_000;
pub const LAGS_TOLD_MAX: usize = 100;

/// A region that declined a copy is not asked for others for this long.
pub const DECLINED_KEPT: Duration = Duration::from_secs(30);

/// What checking one record reads, about, and one entry of another table.
pub const RECORD_BYTES_ABOUT: u64 = 512;
pub const ENTRY_BYTES_ABOUT: u64 = 64;

/// The last changes of a log in which the last stamp of its region is looked for.
pub const LAST_STAMP_CHANGES: u64 = 256;

/// Damaged records of the index that are remembered until they are replaced.
pub const BAD_RECORDS_MAX: usize = 10_000;

/// Of the time, one part in so many goes to looking for damaged records in the log.
pub const LOG_SEARCH_PARTS: u32 = 10;

/// Values of damaged records that a walk over the log finds before it waits until they are put back;
/// those of one change more.
pub const FOUND_RECORDS_BYTES: usize = 8 << 20;

/// Damaged things that are told by name, and objects that are named for one of them.
pub const DAMAGED_NAMED_MAX: usize = 100;
pub const NAMERS_MAX: usize = 16;

/// A deletion is dropped when every region has it and it is older than this.
pub const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 3600);

/// Housekeeping of deletions and logs: pause, records a step, and steps that wait for the others.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
pub const SWEEP_PAGE: usize = 4096;
pub const TOMBSTONE_BATCHES: usize = 64;

/// Gossip datagrams and events waiting; what does not fit is dropped, as the network may do.
pub const GOSSIP_QUEUE_MAX: usize = 256;

/// Datagrams between nodes, below QUIC's smallest path MTU.
pub const DATAGRAM_BYTES_MAX: usize = 1100;

/// Objects whose reads are counted at one node.
pub const HEAT_COUNTERS: usize = 65_536;
/// A count of reads halves in this time.
pub const HEAT_HALF_LIFE: Duration = Duration::from_secs(3600);
/// Accesses in one report to a primary.
pub const HEAT_ITEMS_MAX: usize = 1000;
/// Objects whose regret a primary remembers.
pub const REGRETS_MAX: usize = 65_536;
/// Moves that a node remembers.
pub const MOVES_KEPT: usize = 10_000;
/// Between two looks at heat and copies.
pub const PLACEMENT_INTERVAL: Duration = Duration::from_secs(30);
/// A primary that was silent for this long is replaced.
pub const PRIMARY_GONE_AFTER: Duration = Duration::from_secs(15 * 60);
/// A copy or move that was asked for and did not come is asked for again after this.
pub const COPY_PATIENCE: Duration = Duration::from_secs(120);
/// Who shall have a primary and has no copy yet is asked again: it may not have heard of the object
/// when it was asked before.
pub const MOVE_ASKED_EVERY: Duration = Duration::from_secs(5);

/// Moves of primaries that a node has under way.
pub const MOVES_AT_ONCE: usize = 16;
/// The same with those that a person asked for.
pub const MOVES_ASKED_MAX: usize = 256;
/// A change that others do not know, or that waits for its outcome, for longer than this speaks
/// against taking its node down; and how long the count of copies that only it has is good.
pub const MAINTENANCE_LAG: Duration = Duration::from_secs(10);
pub const MAINTENANCE_FRESH: Duration = Duration::from_secs(10);
/// What a node remembers of what happened, characters of each, and bytes of the file that keeps it.
pub const HISTORY_MAX: usize = 500;
pub const HISTORY_TEXT_MAX: usize = 300;
pub const HISTORY_FILE_BYTES_MAX: u64 = 256 << 10;
/// How long another region may take for a question of the admin API.
pub const ADMIN_ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Listeners of other regions to the requests of this one, and for how long one is kept that does not
/// ask again; how long the first request is waited for, and the lines of one answer.
pub const TRACES_KEPT_MAX: usize = 32;
pub const TRACE_KEPT: Duration = Duration::from_secs(30);
pub const TRACE_WAIT: Duration = Duration::from_secs(2);
pub const TRACE_LINES_MAX: usize = 200;
/// Rows of which cached copies are dropped in one step, and rows that a picture of a bucket counts.
pub const PURGE_PAGE: usize = 10_000;
pub const PICTURE_ROWS_MAX: usize = 1_000_000;
/// Copies that a node makes at the same time, and those it lets wait.
pub const COPIES_AT_ONCE: usize = 4;
pub const COPIES_WAITING_MAX: usize = 10_000;
/// Changed rows that one look at the copies takes, and rows of the slow walk over all of them.
pub const ATTENTION_MAX: usize = 10_000;
pub const PLACEMENT_PAGE: usize = 1000;

/// Calls that one connection of the mesh has open at a time.
pub const MESH_STREAMS_MAX: u32 = 1024;

/// Receive windows: bandwidth x delay of 1 Gbit/s at 128 ms for one body, 500 ms for all.
pub const MESH_STREAM_WINDOW: u32 = 16 << 20;
pub const MESH_WINDOW: u32 = 64 << 20;

/// What may be under way before the first acknowledgement. The mesh is the operator's own, and its
/// connections stand for days: starting at ten packets, as on the open net, would cost the first
/// object after each connect half a dozen round trips.
pub const MESH_FIRST_WINDOW: u64 = 512 << 10;

/// The round trip that is assumed of a new connection: a first packet to a node that is just
/// starting is repeated after three of these.
pub const MESH_FIRST_RTT: Duration = Duration::from_millis(100);

/// Buffers of the UDP socket; what Linux allows without privileges on most machines.
pub const MESH_SOCKET_BYTES: usize = 4 << 20;

/// A quiet connection is kept alive; one that hears nothing is given up, so that writes look for
/// another follower.
pub const MESH_KEEP_ALIVE: Duration = Duration::from_secs(2);
pub const MESH_IDLE_MAX: Duration = Duration::from_secs(6);

/// One attempt at one address, with the greeting; a few lost packets on the longest path.
pub const MESH_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest head of version 2 of the PROXY protocol that is read, after its first bytes.
pub const PROXY_HEAD_BYTES_MAX: usize = 4096;

/// How long a node's certificate holds. Source: shared practice of short-lived certificates that
/// renew themselves; a month is left for whoever has to look when that fails.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// The shortest that can be set: below, clocks and looks are too coarse.
pub const CERTIFICATE_LIFE_MIN: Duration = Duration::from_secs(3600);

/// Certificates hold from so long before they were made, for clocks that are behind.
pub const CERTIFICATE_SKEW: Duration = Duration::from_secs(3600);

/// Between two looks at a node's own certificate.
pub const CERTIFICATE_LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long a node that has joined waits for its UDP port before it starts.
pub const JOIN_CLOSE_GRACE: Duration = Duration::from_secs(60);

/// The longest request for a certificate.
pub const CERTIFICATE_ASK_BYTES_MAX: usize = 4096;

/// How long a join token is good where nothing else is said, and at most.
pub const JOIN_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
pub const JOIN_TOKEN_LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Used tokens that a node with the authority remembers until they would have run out.
pub const JOIN_TOKENS_USED_MAX: usize = 1024;

/// How long one node may take to make another's certificate.
pub const CERTIFICATE_ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// First and largest pause between attempts.
pub const MESH_PAUSE_MIN: Duration = Duration::from_millis(50);
pub const MESH_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A connection that lived this long was a good one: pauses begin anew.
pub const MESH_STEADY_AFTER: Duration = Duration::from_secs(5);

/// Host names of peers that are not connected are looked up again after this.
pub const MESH_LOOKUP_INTERVAL: Duration = Duration::from_secs(30);
pub const MESH_LOOKUP_INTERVAL_FAILED: Duration = Duration::from_secs(3);
pub const MESH_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses of one peer that are tried.
pub const MESH_ADDRESSES_MAX: usize = 16;

/// Handshakes at a time; an honest cluster has two connections a region.
pub const MESH_HANDSHAKES_MAX: usize = 256;

/// Connections of one peer: two in use, and those of its life before until they end.
pub const MESH_ACCEPTED_MAX: usize = 8;

/// Calls of one connection that are served at a time, and of all.
pub const MESH_CALLS_CONTROL_MAX: usize = 512;
pub const MESH_CALLS_BULK_MAX: usize = 128;
pub const MESH_SERVING_MAX: usize = 16_384;

/// What the calls that are being served may take at a stop, and the farewell.
pub const MESH_STOP_GRACE: Duration = Duration::from_secs(5);
pub const MESH_CLOSE_GRACE: Duration = Duration::from_secs(3);

/// Events that one message carries.
pub const NOTIFY_BATCH_EVENTS: usize = 100;

/// Stored bytes of the events of one message.
pub const NOTIFY_BATCH_BYTES: usize = 256 << 10;

/// Events that wait for one destination of one bucket, and their bytes: some hours of a busy
/// bucket. What comes later is dropped and counted, so that a destination that is down costs disk
/// up to a bound and slows nothing.
pub const NOTIFY_LANE_EVENTS_MAX: u64 = 50_000;
pub const NOTIFY_LANE_BYTES_MAX: u64 = 32 << 20;

/// The same for a whole node.
pub const NOTIFY_EVENTS_MAX: u64 = 200_000;
pub const NOTIFY_BYTES_MAX: u64 = 128 << 20;

/// Messages under way at a time, and to one destination.
pub const NOTIFY_DELIVERIES_MAX: usize = 16;
pub const NOTIFY_DELIVERIES_EACH_MAX: usize = 4;

/// What a destination may take to answer. Source: Tigris, "Object notifications".
pub const NOTIFY_TIMEOUT: Duration = Duration::from_secs(10);

/// First and largest pause after a message that was not taken.
pub const NOTIFY_PAUSE_MIN: Duration = Duration::from_secs(1);
pub const NOTIFY_PAUSE_MAX: Duration = Duration::from_secs(300);

/// An event that its destination has refused so often is given up: about eight minutes.
pub const NOTIFY_REFUSALS_MAX: u32 = 10;

/// An event that could not be delivered for this long is given up.
pub const NOTIFY_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Between two looks at the queue where no change wakes it.
pub const NOTIFY_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What of a destination's answer is read.
pub const NOTIFY_ANSWER_BYTES_MAX: usize = 64 << 10;

/// What the rest of an answer may take after its status, so that the connection is kept.
pub const NOTIFY_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Console: sessions of one node; the one that was idle longest makes room.
pub const SESSIONS_MAX: usize = 1024;

/// A session ends after this long without a request, and after this long whatever happens.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(3600);
pub const SESSION_LIFE_MAX: Duration = Duration::from_secs(12 * 3600);

const _: () = assert!(RIDING_BYTES_MAX as usize <= INLINE_BYTES_MAX);
const _: () = assert!(INLINE_BYTES_MAX <= SEGMENT_BLOB_BYTES_MAX);
const _: () = assert!(SEGMENT_BLOB_BYTES_MAX <= CHUNK_BYTES);
const _: () = assert!(CHUNK_BYTES < MESSAGE_BYTES_MAX);
const _: () = assert!(LEASE_TERM.as_millis() < REGISTER_ROUND_TIMEOUT.as_millis());
const _: () =
    assert!(LOG_BATCH_BYTES + RIDING_BYTES_MAX as usize * LOSERS_MAX < MESSAGE_BYTES_MAX * 2);
const _: () =
    assert!(STAGE_PIECE_BYTES < MESSAGE_BYTES_MAX && CHUNK_BYTES.is_multiple_of(STAGE_PIECE_BYTES));
const _: () = assert!(COMMIT_BATCH_BYTES as u64 + MESSAGE_BYTES_MAX as u64 <= SEGMENT_BYTES / 8);
const _: () = assert!(MESSAGE_BYTES_MAX < MESH_STREAM_WINDOW as usize);
const _: () = assert!(2 * REGIONS_MAX <= MESH_HANDSHAKES_MAX);
const _: () = assert!(NOTIFY_LANE_EVENTS_MAX <= NOTIFY_EVENTS_MAX);
const _: () = assert!(NOTIFY_LANE_BYTES_MAX <= NOTIFY_BYTES_MAX);
const _: () = assert!(SCRUB_INTERVAL.as_secs() < SCRUB_INTERVAL_MAX.as_secs());
const _: () = assert!(NOTIFY_DELIVERIES_EACH_MAX < NOTIFY_DELIVERIES_MAX);
const _: () = assert!(NOTIFY_ANSWER_TIMEOUT.as_millis() < NOTIFY_TIMEOUT.as_millis());

/// Lines of the audit log that wait for the disk, and those that are written at once.
pub const AUDIT_WAITING_MAX: usize = 4096;
pub const AUDIT_BATCH_MAX: usize = 256;

/// Spans of traces that wait for the collector, and those that are sent at once.
pub const SPANS_WAITING_MAX: usize = 4096;
pub const SPANS_BATCH_MAX: usize = 512;

/// A request that takes longer than this leaves a line of its own, unless another time is set.
pub const SLOW_DEFAULT: Duration = Duration::from_secs(1);
