"""What one API process bears: many clients, many streams and large uploads, and what another tenant notices of it."""
