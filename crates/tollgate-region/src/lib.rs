//! Tower layers that keep a call in its region and send it to that region's upstreams
