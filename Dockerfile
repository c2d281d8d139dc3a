# The control plane: API, worker and beat. Agents are not run from this image: they need their host.
FROM python:3.13-slim
WORKDIR /srv/porter
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml setup.py requirements.in README.md LICENSE ./
COPY porter ./porter
COPY migrations ./migrations
# the compiler is for the optimiser's search only, and does not stay
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && pip install --no-cache-dir --no-deps -e . && ls porter/schedule/optimiser/search.*.so \
    && apt-get purge -y --auto-remove gcc libc6-dev && rm -rf /var/lib/apt/lists/* build \
    && useradd --system --create-home porter
USER porter
EXPOSE 8460 8461
ENTRYPOINT ["porter"]
CMD ["web"]
