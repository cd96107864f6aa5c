//! One bucket in memory behind the S3 operations that stores and engines use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::BUCKET;

pub(super) struct Bucket {
    state: Mutex<State>,
    ignore_conditions: AtomicBool,
    page_max: AtomicUsize,
    overwrites: AtomicUsize,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, BTreeMap<i32, Bytes>>,
    uploads_made: usize,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    e_tag: ETag,
    modified: SystemTime,
    metadata: Option<Metadata>,
    /// As asked for: algorithm, key, bucket key.
    encryption: Option<String>,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            ignore_conditions: AtomicBool::new(false),
            page_max: AtomicUsize::new(1000),
            overwrites: AtomicUsize::new(0),
        }
    }
}

impl Object {
    fn new(bytes: Bytes, metadata: Option<Metadata>) -> Self {
        let e_tag = ETag::Strong(format!("{:032x}", twox_hash::XxHash3_128::oneshot(&bytes)));
        Self { bytes, e_tag, modified: SystemTime::now(), metadata, encryption: None }
    }
}

impl Bucket {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn ignore_conditions(&self, ignore: bool) {
        self.ignore_conditions.store(ignore, SeqCst);
    }

    pub fn set_page_max(&self, keys: usize) {
        self.page_max.store(keys, SeqCst);
    }

    pub fn overwrites(&self) -> usize {
        self.overwrites.load(SeqCst)
    }

    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.state().objects.get(key).map(|object| object.bytes.clone())
    }

    pub fn encryption(&self, key: &str) -> Option<String> {
        self.state().objects.get(key).and_then(|object| object.encryption.clone())
    }

    pub fn put(&self, key: &str, bytes: Bytes) {
        self.state().objects.insert(key.to_owned(), Object::new(bytes, None));
    }

    /// Checks the conditions and writes under one lock: of any number of creators exactly one wins.
    fn write(
        &self,
        key: &str,
        object: Object,
        if_none_match: Option<&IfNoneMatch>,
        if_match: Option<&IfMatch>,
    ) -> S3Result<ETag> {
        let mut state = self.state();
        let standing = state.objects.get(key);
        if !self.ignore_conditions.load(SeqCst) {
            let none_match = match (if_none_match, standing) {
                (Some(condition), Some(standing)) => {
                    !condition.is_any() && condition.as_etag() != Some(&standing.e_tag)
                }
                _ => true,
            };
            let matches = match if_match {
                Some(condition) => standing.is_some_and(|standing| condition.as_etag() == Some(&standing.e_tag)),
                None => true,
            };
            if !(none_match && matches) {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        if standing.is_some_and(|standing| standing.bytes != object.bytes) {
            self.overwrites.fetch_add(1, SeqCst);
        }
        let e_tag = object.e_tag.clone();
        state.objects.insert(key.to_owned(), object);
        Ok(e_tag)
    }

    fn read(&self, bucket: &str, key: &str) -> S3Result<Object> {
        known(bucket)?;
        self.state().objects.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }
}

/// The S3 operations of a bucket.
pub(super) struct Api(pub Arc<Bucket>);

#[async_trait::async_trait]
impl S3 for Api {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        known(&input.bucket)?;
        let bytes = collect(input.body).await?;
        if input.content_length.is_some_and(|length| length != bytes.len() as i64) {
            return Err(s3_error!(IncompleteBody));
        }
        let encryption = input.server_side_encryption.map(|algorithm| {
            let key = input.ssekms_key_id.unwrap_or_default();
            format!("{}/{key}/{}", algorithm.as_str(), input.bucket_key_enabled.unwrap_or_default())
        });
        let object = Object { encryption, ..Object::new(bytes, input.metadata) };
        let e_tag = self.0.write(&input.key, object, input.if_none_match.as_ref(), input.if_match.as_ref())?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(e_tag), ..Default::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let object = self.0.read(&input.bucket, &input.key)?;
        if input.if_match.as_ref().is_some_and(|wanted| wanted.as_etag() != Some(&object.e_tag)) {
            return Err(s3_error!(PreconditionFailed));
        }
        if input.if_none_match.as_ref().is_some_and(|unwanted| unwanted.as_etag() == Some(&object.e_tag)) {
            return Err(s3_error!(NotModified));
        }
        let whole = object.bytes.len() as u64;
        let range = match input.range {
            Some(Range::Suffix { length }) => Some(whole.saturating_sub(length)..whole),
            Some(range) => Some(range.check(whole).map_err(|_| s3_error!(InvalidRange))?),
            None => None,
        };
        let bytes = match &range {
            Some(range) => object.bytes.slice(range.start as usize..range.end as usize),
            None => object.bytes,
        };
        let content_range = range.map(|range| format!("bytes {}-{}/{whole}", range.start, range.end.saturating_sub(1)));
        let output = GetObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(bytes.len() as i64),
            content_range,
            e_tag: Some(object.e_tag),
            last_modified: Some(object.modified.into()),
            metadata: object.metadata,
            body: Some(StreamingBlob::from(s3s::Body::from(bytes))),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let object = self.0.read(&request.input.bucket, &request.input.key)?;
        let output = HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(object.bytes.len() as i64),
            e_tag: Some(object.e_tag),
            last_modified: Some(object.modified.into()),
            metadata: object.metadata,
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        known(&request.input.bucket)?;
        self.0.state().objects.remove(&request.input.key);
        Ok(S3Response::with_status(DeleteObjectOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        known(&request.input.bucket)?;
        let mut state = self.0.state();
        let remove = |object: ObjectIdentifier| {
            state.objects.remove(&object.key);
            DeletedObject { key: Some(object.key), ..Default::default() }
        };
        let deleted = request.input.delete.objects.into_iter().map(remove).collect();
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        known(&input.bucket)?;
        let asked = input.max_keys.and_then(|keys| usize::try_from(keys).ok()).unwrap_or(usize::MAX);
        let keys_max = self.0.page_max.load(SeqCst).min(asked);
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let page = page(&self.0.state().objects, &input, &after, keys_max);
        let encode = |text: String| match &input.encoding_type {
            Some(_) => percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string(),
            None => text,
        };
        let content = |(key, object): (String, Object)| s3s::dto::Object {
            key: Some(encode(key)),
            size: Some(object.bytes.len() as i64),
            e_tag: Some(object.e_tag),
            last_modified: Some(object.modified.into()),
            ..Default::default()
        };
        let prefixes = page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(encode(prefix)) });
        let output = ListObjectsV2Output {
            name: Some(input.bucket.clone()),
            key_count: Some((page.objects.len() + prefixes.len()) as i32),
            common_prefixes: Some(prefixes.collect()),
            contents: Some(page.objects.into_iter().map(content).collect()),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            max_keys: Some(keys_max as i32),
            prefix: input.prefix.clone(),
            delimiter: input.delimiter.clone(),
            encoding_type: input.encoding_type.clone(),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        known(&request.input.bucket)?;
        let mut state = self.0.state();
        state.uploads_made += 1;
        let id = format!("upload-{}", state.uploads_made);
        state.uploads.insert(id.clone(), BTreeMap::new());
        let output = CreateMultipartUploadOutput {
            bucket: Some(request.input.bucket),
            key: Some(request.input.key),
            upload_id: Some(id),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let bytes = collect(request.input.body).await?;
        let e_tag = Object::new(bytes.clone(), None).e_tag;
        let mut state = self.0.state();
        let parts = state.uploads.get_mut(&request.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        parts.insert(request.input.part_number, bytes);
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(e_tag), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let parts = self.0.state().uploads.get(&input.upload_id).cloned().ok_or_else(|| s3_error!(NoSuchUpload))?;
        let asked = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let mut whole = BytesMut::new();
        for part in asked {
            let bytes = part.part_number.and_then(|number| parts.get(&number)).ok_or_else(|| s3_error!(InvalidPart))?;
            whole.extend_from_slice(bytes);
        }
        let object = Object::new(whole.freeze(), None);
        let e_tag = self.0.write(&input.key, object, input.if_none_match.as_ref(), input.if_match.as_ref())?;
        self.0.state().uploads.remove(&input.upload_id);
        let output = CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(e_tag),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.0.state().uploads.remove(&request.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

struct Page {
    objects: Vec<(String, Object)>,
    prefixes: BTreeSet<String>,
    /// The continuation token: the last key or common prefix given.
    next: Option<String>,
}

/// The keys after `after`, rolled up at the delimiter, as ListObjectsV2 gives them.
fn page(objects: &BTreeMap<String, Object>, input: &ListObjectsV2Input, after: &str, keys_max: usize) -> Page {
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let mut page = Page { objects: Vec::new(), prefixes: BTreeSet::new(), next: None };
    let mut last = String::new();
    let from = prefix.to_owned()..;
    for (key, object) in objects.range(from).take_while(|(key, _)| key.starts_with(prefix)) {
        let rolled = input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()).and_then(|delimiter| {
            let end = key[prefix.len()..].find(delimiter)?;
            Some(key[..prefix.len() + end + delimiter.len()].to_owned())
        });
        let name = rolled.clone().unwrap_or_else(|| key.clone());
        if *name <= *after || page.prefixes.contains(&name) {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == keys_max {
            page.next = Some(last);
            break;
        }
        match rolled {
            Some(rolled) => drop(page.prefixes.insert(rolled)),
            None => page.objects.push((key.clone(), object.clone())),
        }
        last = name;
    }
    page
}

fn known(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let mut whole = BytesMut::new();
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            whole.extend_from_slice(&chunk.map_err(|_| s3_error!(IncompleteBody))?);
        }
    }
    Ok(whole.freeze())
}
