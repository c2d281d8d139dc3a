# The control plane: API, worker and beat. Agents are not run from this image: they need their host.
FROM python:3.13-slim
WORKDIR /srv/porter
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml requirements.in README.md LICENSE ./
COPY porter ./porter
COPY migrations ./migrations
RUN pip install --no-cache-dir --no-deps -e . && useradd --system --create-home porter
USER porter
EXPOSE 8460 8461
ENTRYPOINT ["porter"]
CMD ["web"]
